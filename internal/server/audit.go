package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// maxAuditID is the longest id that is taken from a client (apiserver/pkg/endpoints/filters/audit_init.go).
const maxAuditID = 64

// identify gives the request the id by which it is found in logs: the client's own, or a new one.
func identify(x *exchange) {
	id := x.r.Header.Get("Audit-ID")
	if id == "" || len(id) > maxAuditID {
		id = uuid.NewString()
	}
	x.auditID = id
	x.w.Header().Set("Audit-Id", id)
}

// audit notes who asks for what, and how it ended, in the log at its most talkative. Bodies and headers are never in it.
func (s *Server) audit(x *exchange) error {
	if !s.log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	received := time.Now()
	who := x.user.GetName() // not whom they impersonate
	x.release = append(x.release, func() { s.logRequest(x, who, time.Since(received)) })
	return nil
}

// logRequest writes a line about a request that is over.
func (s *Server) logRequest(x *exchange, who string, latency time.Duration) {
	s.log.Debug("HTTP", "verb", x.info.Verb, "URI", x.r.URL.RequestURI(), "latency", latency, "user", who,
		"userAgent", x.r.UserAgent(), "audit-ID", x.auditID, "srcIP", x.r.RemoteAddr, "resp", x.w.code)
}

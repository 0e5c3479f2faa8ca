package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// maxAuditID is how much of an id that a client chose the log has (apiserver/pkg/audit/context.go, GetAuditIDTruncated).
const maxAuditID = 64

// identify gives the request the id by which it is found in logs: the client's own, or a new one.
func (s *Server) identify(x *exchange) {
	id := x.r.Header.Get("Audit-ID")
	if id == "" {
		id = uuid.NewString()
	}
	x.w.Header().Set("Audit-Id", id)
	x.auditID = id[:min(len(id), maxAuditID)]
	if s.options.Audit != nil {
		x.received = time.Now()
		x.with(audit.Context(x.r.Context(), id))
	}
}

// audit notes who asks for what, and how it ended: for the audit log, and in the log at its most talkative, in which bodies and
// headers never are.
func (s *Server) audit(x *exchange) error {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		received := time.Now()
		who := x.user.GetName() // not whom they impersonate
		x.release = append(x.release, func() { s.logRequest(x, who, time.Since(received)) })
	}
	if s.options.Audit == nil {
		return nil
	}
	event, err := s.options.Audit.Received(x.r, x.received, x.request(), longRunning(x.info))
	if err != nil {
		return s.unaudited(x, err)
	}
	if event != nil {
		genericrequest.TrackAuthenticationLatency(event.Context(), x.took[len(x.took)-1])
	}
	x.tell(event)
	return nil
}

// auditRefused tells of a request that comes to an end before its user is known.
func (s *Server) auditRefused(x *exchange, message string) error {
	if s.options.Audit == nil {
		return nil
	}
	event, err := s.options.Audit.Refused(x.r, x.received, x.request(), message)
	if err != nil {
		return s.unaudited(x, err)
	}
	x.tell(event)
	return nil
}

// unaudited is the answer to a request that cannot be audited as it has to be. The text is upstream's.
func (s *Server) unaudited(x *exchange, err error) error {
	s.log.Error("request is not audited", "path", x.r.URL.Path, "audit-id", x.auditID, "error", err)
	uri := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(fmt.Sprintf("%q", x.r.RequestURI))
	return plainError{http.StatusInternalServerError, fmt.Sprintf("Internal Server Error: %s: %v", uri, err)}
}

// tell has an event told of the rest of the request.
func (x *exchange) tell(event *audit.Event) {
	if event == nil {
		return
	}
	x.event = event
	x.with(event.Context())
	x.w.answering = event.Answering
	x.release = append(x.release, func() {
		if x.panicked != nil {
			event.Panicked(x.panicked)
			return
		}
		event.Done()
	})
}

// tellStatus tells of a Status that is the answer, unless the client takes none.
func (x *exchange) tellStatus(status *metav1.Status) {
	if _, err := wire.NegotiateWhole(x.r); err == nil {
		x.event.Status(status)
	}
}

// tellDiscovery tells of a discovery document that is the answer: in JSON, whatever the client has got.
func (s *Server) tellDiscovery(x *exchange) {
	if x.w.code != http.StatusOK || !strings.HasPrefix(x.info.Path, "/api") { // upstream has no objects for what else there is
		return
	}
	x.event.Response(func() ([]byte, error) {
		r := x.r.Clone(x.r.Context())
		accept := strings.NewReplacer(wire.Protobuf.String(), wire.JSON.String(), wire.YAML.String(), wire.JSON.String())
		r.Header.Set("Accept", accept.Replace(r.Header.Get("Accept")))
		r.Header.Del("Accept-Encoding")
		r.Header.Del("If-None-Match")
		r.URL.RawQuery = "pretty=false"
		w := &kept{header: http.Header{}}
		err := s.options.Discovery().Serve(w, r)
		return w.body, err
	})
}

// kept is an answer that nobody gets.
type kept struct {
	header http.Header
	body   []byte
}

func (k *kept) Header() http.Header { return k.header }
func (k *kept) WriteHeader(int)     {}

func (k *kept) Write(b []byte) (int, error) {
	k.body = append(k.body, b...)
	return len(b), nil
}

// request is what is asked for, and by whom, as far as policies look at it.
func (x *exchange) request() *authorizer.AttributesRecord {
	info := x.info
	return &authorizer.AttributesRecord{
		User: x.user, Verb: info.Verb, Path: info.Path, ResourceRequest: info.IsResourceRequest,
		APIGroup: info.APIGroup, APIVersion: info.APIVersion, Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name,
	}
}

// logRequest writes a line about a request that is over.
func (s *Server) logRequest(x *exchange, who string, latency time.Duration) {
	s.log.Debug("HTTP", "verb", x.info.Verb, "URI", x.r.URL.RequestURI(), "latency", latency, "user", who,
		"userAgent", x.r.UserAgent(), "audit-ID", x.auditID, "srcIP", x.r.RemoteAddr, "resp", x.w.code)
}

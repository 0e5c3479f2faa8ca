package server

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"

	"github.com/kayak-k8s/kayak/internal/request"
)

// parse finds out what the request asks for, and sets its deadline.
func (s *Server) parse(x *exchange) error {
	if x.r.URL.RawQuery != "" {
		x.query = x.r.URL.Query()
		x.dryRun = x.query.Has("dryRun")
	}
	info, err := request.Parse(x.r, x.query)
	x.info = info
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	ctx := genericrequest.WithRequestInfo(x.r.Context(), info)
	ctx = warning.WithWarningRecorder(ctx, x.w)
	if !longRunning(info) {
		var cancel context.CancelFunc
		timeout, err := s.timeout(x)
		if err != nil {
			return s.badTimeout(x, err)
		}
		ctx, cancel = context.WithTimeout(ctx, timeout)
		x.release = append(x.release, cancel)
	}
	x.with(ctx)
	return nil
}

// badTimeout refuses a request whose timeout is none.
func (s *Server) badTimeout(x *exchange, err error) error {
	if auditErr := s.auditRefused(x, err.Error()); auditErr != nil {
		return auditErr
	}
	return err
}

// writeTimeout bounds one write, body and all, as upstream's requestTimeoutUpperBound does
// (apiserver/pkg/endpoints/handlers/rest.go).
const writeTimeout = 34 * time.Second

// timeout is how long the request may take: as long as it says itself, but not longer than the server's limit
// (apiserver/pkg/endpoints/filters/request_deadline.go).
func (s *Server) timeout(x *exchange) (time.Duration, error) {
	limit := s.options.RequestTimeout
	if writesOne(x.info) {
		limit = min(limit, writeTimeout)
	}
	value := x.query.Get("timeout")
	if value == "" {
		return limit, nil
	}
	timeout, err := time.ParseDuration(value)
	if err != nil {
		return 0, apierrors.NewBadRequest("invalid timeout specified in the request URL - " + err.Error())
	}
	if timeout <= 0 || timeout > limit {
		return limit, nil
	}
	return timeout, nil
}

// writesOne reports whether the request writes one object. To delete a collection may take longer.
func writesOne(info *request.Info) bool {
	if !info.IsResourceRequest {
		return false
	}
	switch info.Verb {
	case "create", "update", "patch", "delete":
		return true
	}
	return false
}

// longRunning requests have no deadline and take no place among the others
// (apiserver/pkg/server/filters, BasicLongRunningRequestCheck, with kube-apiserver's verbs and subresources).
func longRunning(info *request.Info) bool {
	if !info.IsResourceRequest {
		return len(info.Path) > len("/debug/pprof/") && info.Path[:len("/debug/pprof/")] == "/debug/pprof/"
	}
	switch info.Verb {
	case "watch", "proxy":
		return true
	}
	switch info.Subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

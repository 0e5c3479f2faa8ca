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
	info, err := request.Parse(x.r)
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
	x.r = x.r.WithContext(ctx)
	return nil
}

// badTimeout refuses a request whose timeout is none.
func (s *Server) badTimeout(x *exchange, err error) error {
	if auditErr := s.auditRefused(x, err.Error()); auditErr != nil {
		return auditErr
	}
	return err
}

// timeout is how long the request may take: as long as it says itself, but not longer than the server's limit
// (apiserver/pkg/endpoints/filters/request_deadline.go).
func (s *Server) timeout(x *exchange) (time.Duration, error) {
	if x.r.URL.RawQuery == "" {
		return s.options.RequestTimeout, nil
	}
	value := x.r.URL.Query().Get("timeout")
	if value == "" {
		return s.options.RequestTimeout, nil
	}
	timeout, err := time.ParseDuration(value)
	if err != nil {
		return 0, apierrors.NewBadRequest("invalid timeout specified in the request URL - " + err.Error())
	}
	if timeout <= 0 || timeout > s.options.RequestTimeout {
		return s.options.RequestTimeout, nil
	}
	return timeout, nil
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

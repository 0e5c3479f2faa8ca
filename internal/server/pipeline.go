package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// exchange is one request on its way through the pipeline. It belongs to the goroutine that serves the request.
type exchange struct {
	w *response
	r *http.Request
	// own is what r points to once it has a context of the exchange's making.
	own http.Request

	// What the stages find out, in their order.
	query   url.Values // nil if there is none
	dryRun  bool
	info    *request.Info
	user    user.Info
	auditID string
	// received is when the request came, and event what is told of it; both are for the audit log only.
	received time.Time
	event    *audit.Event
	// panicked is what the handling of the request ended with, if it did not return.
	panicked any

	// goesOn says that the answer is not over when the handler, or a step of it, returns.
	goesOn bool

	// took is how long each stage took, in the order of the pipeline.
	took []time.Duration
	// release are the things to do when the request has been answered.
	release []func()
}

// with gives the request a context. A handler must not change the request that it was given; the exchange changes a copy, again
// and again.
func (x *exchange) with(ctx context.Context) {
	x.own = *x.r.WithContext(ctx)
	x.r = &x.own
}

// stage is one step of the pipeline. It may answer the request, with an error that becomes a Status or by itself, and then
// returns errAnswered; or it adds to the exchange what it has found and returns nil.
type stage struct {
	name string
	run  func(*exchange) error
}

// errAnswered ends the pipeline: the request has got its answer.
var errAnswered = errors.New("answered")

// stages is the pipeline. Every request goes through these, in this order; nothing else decides what becomes of it.
func (s *Server) stages() []stage {
	return []stage{
		{"parse", s.parse},               // what is asked for                         parse.go
		{"authenticate", s.authenticate}, // by whom: a bad credential is 401          authenticate.go
		{"audit", s.audit},               // note who asks for what                    audit.go
		{"impersonate", s.impersonate},   // on whose behalf: needs permission         impersonate.go
		{"flow control", s.flowControl},  // when: too many at a time is 429           flow.go
		{"authorize", s.authorize},       // whether the user may: otherwise 403       authorize.go
		{"verb", s.last()},               // do it                                     route.go, middleware.go
	}
}

// ServeHTTP runs the pipeline.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: &response{ResponseWriter: w, taken: &s.taken}, r: r, took: make([]time.Duration, 0, len(s.pipeline))}
	x.w.Header().Set("Cache-Control", "no-cache, private")
	s.identify(x)
	if s.options.Middleware == nil { // what is around the handler is to be around all of the answer
		x.w.server, x.w.exchange = s, x
	}
	s.active.begin()
	defer s.settle(x)
	s.run(x)
}

// settle, deferred, ends an exchange, unless it goes on in steps. A panic ends it in any case.
func (s *Server) settle(x *exchange) {
	cause := recover()
	if cause == nil && x.goesOn {
		return
	}
	defer s.active.end()
	defer s.observe(x)
	defer func() { // also when the panic goes on, to break the connection off
		for i := len(x.release) - 1; i >= 0; i-- {
			x.release[i]()
		}
	}()
	if cause != nil {
		x.panicked = cause
		s.recovered(x, cause)
	}
}

func (s *Server) run(x *exchange) {
	for _, stage := range s.pipeline {
		began := time.Now()
		err := stage.run(x)
		x.took = append(x.took, time.Since(began))
		if err == nil {
			continue
		}
		if !errors.Is(err, errAnswered) {
			s.fail(x, err)
		}
		return
	}
}

// fail is the one place where errors become answers.
func (s *Server) fail(x *exchange, err error) {
	if x.w.code == http.StatusSwitchingProtocols {
		s.log.Warn("connection failed", "path", x.r.URL.Path, "audit-id", x.auditID, "error", err)
		return // it is somebody else's by now
	}
	if x.w.code != 0 {
		// Part of an answer is on its way; breaking it off is the only way left to say that something went wrong.
		s.log.Error("request failed after its answer had begun", "path", x.r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	var plain plainError
	if errors.As(err, &plain) {
		http.Error(x.w, plain.text, plain.code)
		return
	}
	if errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
		return // the client is gone
	}
	status := request.Status(err)
	if code := status.Code; code >= http.StatusInternalServerError {
		s.log.Warn("request failed", "method", x.r.Method, "path", x.r.URL.Path, "audit-id", x.auditID, "error", err)
	}
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		s.distrust(x)
	}
	if apierrors.IsForbidden(err) {
		x.w.Header().Set("X-Content-Type-Options", "nosniff") // as upstream's responsewriters.Forbidden, and only there
	}
	if x.event != nil {
		x.tellStatus(status)
	}
	wire.WriteStatus(x.w, x.r, status)
}

// distrust closes the connection of a client that is nobody, so that it cannot keep many streams busy (upstream's gate
// UnauthenticatedHTTP2DOSMitigation, CVE-2023-44487).
func (s *Server) distrust(x *exchange) {
	if x.r.ProtoMajor == 2 && (x.user == nil || x.user.GetName() == user.Anonymous) {
		x.w.Header().Set("Connection", "close")
	}
}

// recovered answers a request whose handling panicked. The server goes on.
func (s *Server) recovered(x *exchange, cause any) {
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	s.log.Error("request panicked", "method", x.r.Method, "path", x.r.URL.Path, "audit-id", x.auditID,
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if x.w.code != 0 {
		panic(http.ErrAbortHandler)
	}
	http.Error(x.w, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
}

// plainError is an answer that is not a Status: a text.
type plainError struct {
	code int
	text string
}

func (e plainError) Error() string { return e.text }

// errNoPath is the answer for a path that means nothing here.
var errNoPath = plainError{http.StatusNotFound, "404 page not found"}

// Package server is the HTTP side of kayak: the listener with TLS, the pipeline that every request goes through, health,
// metrics, and the end.
//
// The pipeline is one list (pipeline.go): parse ▸ authenticate ▸ audit ▸ impersonate ▸ flow control ▸ authorize ▸ verb, one
// file a stage. Each stage adds what it has found to the exchange, or ends it with an error; errors become answers in one
// place. How long each stage took is measured for every request.
//
// # Life
//
//	s := server.New(options)        nothing runs yet
//	s.Serve(listener, tlsConfig)    serves until Shutdown
//	s.Shutdown(ctx)                 /readyz fails, watches end, requests under way are finished, connections are closed
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/h2"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/openapi"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// Options are what a server is made of. All fields are required unless they say otherwise.
type Options struct {
	// Kinds are those that are served whatever happens.
	Kinds *kind.Table
	// Custom, unless it is nil, returns the table that is served at the moment: Kinds, and what has been added to them. CatchUp
	// looks for more before something is not found, and reports whether there is.
	Custom    func() *kind.Table
	CatchUp   func(context.Context) bool
	API       *verb.API
	Discovery func() *discovery.Handler
	OpenAPI   func() *openapi.Handler
	// Authenticate finds out who makes a request.
	Authenticate func(*http.Request) (user.Info, error)
	// Refuse, unless it is nil, adds to the headers of the answer to a client that is refused.
	Refuse     func(http.Header)
	Authorizer authorizer.UnconditionalAuthorizer
	// Audit, unless it is nil, audits requests.
	Audit *audit.Auditor
	// Middleware, unless it is nil, is put around the last stage of the pipeline.
	Middleware func(http.Handler) http.Handler
	// Checks are the parts of the server's health.
	Checks []Check
	// Metrics are served at /metrics.
	Metrics *Metrics
	// MaxReadOnly and MaxMutating bound how many requests of each sort are served at a time; 0 or less does not.
	MaxReadOnly, MaxMutating int
	// RequestTimeout is the longest that a request may take that is not long-running.
	RequestTimeout time.Duration
	// Documents are served as they are, by path.
	Documents map[string]authn.Document
	// NoHTTP2 serves HTTP/1.1 only; MaxStreams bounds the requests at a time on an HTTP/2 connection, 0 means 100.
	NoHTTP2    bool
	MaxStreams int
	// Stopping is closed by Shutdown; it must be the one that API knows.
	Stopping chan struct{}
	// Profiling serves the profiles of the process.
	Profiling bool
	// Logs is a directory to serve at /logs/, or nil.
	Logs   *os.Root
	Logger *slog.Logger
}

// Server serves the API. Make one with New.
type Server struct {
	options  Options
	log      *slog.Logger
	pipeline []stage
	// stageTimes are the histograms of the stages' durations, in the order of the pipeline.
	stageTimes []prometheus.Observer
	// impersonation decides whether a user may act as another.
	impersonation http.Handler
	paths         paths
	readOnly      seats
	mutating      seats
	active        active
	taken         taken
	busy          busy
	http          *http.Server
	stopOnce      sync.Once
}

// New returns a server that is not serving yet.
func New(options Options) *Server {
	s := &Server{
		options:  options,
		log:      options.Logger,
		readOnly: newSeats(options.MaxReadOnly),
		mutating: newSeats(options.MaxMutating),

		impersonation: newImpersonation(options),
	}
	s.pipeline = s.stages()
	for _, stage := range s.pipeline {
		s.stageTimes = append(s.stageTimes, options.Metrics.stages.WithLabelValues(stage.name))
	}
	s.paths = paths{"/metrics": options.Metrics.Handler()}
	s.addHealth(options.Checks)
	s.addLogs(options.Logs)
	s.addProfiling(options.Profiling)
	s.addDocuments(options.Documents)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          log.New(connectionLog{options.Logger}, "", 0),
		ConnState:         s.busy.note,
		ConnContext:       func(ctx context.Context, _ net.Conn) context.Context { return authn.WithConnection(ctx) },
	}
	h2.Configure(s.http, h2.Options{MaxConcurrentStreams: options.MaxStreams, Logger: options.Logger})
	return s
}

// Paths lists the paths that are not resources, for the index at "/".
func (s *Server) Paths() []string { return append(s.paths.names(), openapi.Paths()...) }

// Serve serves TLS connections from the listener until Shutdown, and then returns nil.
func (s *Server) Serve(listener net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if s.options.NoHTTP2 {
		config.NextProtos = config.NextProtos[1:]
	}
	config.ClientAuth = tls.RequestClientCert // asked for, not required; authn verifies it
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS12
	}
	config.DynamicRecordSizingDisabled = true // h2 makes its records as large as what it has
	s.http.TLSConfig = config
	err := s.http.ServeTLS(h2.Listener{Listener: listener}, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops serving: no new connections, watches end, and every request under way is finished, for as long as ctx allows.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.options.Stopping) })
	s.taken.close()
	done := make(chan error, 1)
	go func() { done <- s.http.Shutdown(ctx) }()
	err := s.active.wait(ctx)
	// HTTP/2 clients are given a second to hang up by themselves; what had to be said has been said.
	s.busy.drain(done)
	return errors.Join(err, s.http.Close())
}

// active counts the requests under way. Requests from within the process may still begin while the end is waited for; they are
// waited for as well, so that what they are part of can finish.
//
// Ownership: mu guards the rest. idle is closed when there are none, for those who wait.
type active struct {
	mu    sync.Mutex
	count int
	idle  chan struct{}
}

func (a *active) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
}

func (a *active) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count--; a.count == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
}

// wait waits until there are no requests.
func (a *active) wait(ctx context.Context) error {
	a.mu.Lock()
	if a.count == 0 {
		a.mu.Unlock()
		return nil
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connectionLog takes what net/http has to say about connections, which is about clients, not about the server.
type connectionLog struct{ log *slog.Logger }

func (l connectionLog) Write(b []byte) (int, error) {
	l.log.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}

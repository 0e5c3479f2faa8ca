// Package kayaktest runs Kubernetes API servers in tests: real ones, in the process of the test, each on its own, there in
// milliseconds and gone when the test ends.
//
//	func TestReconcile(t *testing.T) {
//		t.Parallel()
//		config := kayaktest.Start(t, kayaktest.CRDs("config/crd"))
//		...
//	}
//
// [Start] returns a configuration for clients of the administrator; [New] returns the [Server], which has more: configurations for
// other users, faults, snapshots. Nothing has to be installed or downloaded, nothing is stopped by hand, and nothing is shared:
// tens of servers can run in one process, in parallel tests.
//
// # Where a server is
//
// A server listens on a free port of 127.0.0.1, with TLS, and keeps its objects in memory. With [InMemory] clients made from its
// configurations do without a socket: their requests are handed over inside the process. [With] changes whatever else
// kayak.Config knows: another store, a port, authorization, admission, controllers.
//
// # What is there when a test begins
//
// [CRDs] and [CRDObjects] install custom resource definitions and wait until they can be used. [Webhooks] installs admission
// webhooks and serves them, or lets the test serve them, over TLS that the server trusts. What takes long is done once, with
// [Server.Snapshot], and is what further servers begin with: [FromSnapshot].
//
// # When things go wrong
//
// [Server.Inject] makes the server fail, delay or drop the requests that match; [Server.CutWatches] breaks watches off;
// [Server.Compact] and [Server.ExpireEvents] do now what otherwise takes time. All of it happens behind authentication and
// authorization and before admission, on a server that otherwise is as real as ever.
//
// # What a test sees
//
// [LogRequests] writes every request to the test's log, [AuditLog] what was in them and what came of it, [Log] what the server has to
// say.
//
// # What is the process's
//
// Servers share nothing but what never changes. One thing upstream has made the process's: [FeatureGates], so tests that set them
// cannot be parallel.
package kayaktest

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// Server is a running server of a test.
type Server struct {
	t        testing.TB
	server   *kayak.Server
	inMemory bool
	faults   *faults
	webhooks *webhookServer // nil without
}

// timeout bounds what must happen at the start and at the end, generously.
const timeout = 30 * time.Second

// Start starts a server that lives until the test ends, and returns a configuration for the administrator, a member of
// system:masters.
func Start(t testing.TB, options ...Option) *rest.Config {
	t.Helper()
	return New(t, options...).Config()
}

// New starts a server that lives until the test ends. It is ready when New returns; when it cannot be had the test fails.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	o := newOptions(opts)
	setGates(t, o.gates)
	s := &Server{t: t, inMemory: o.inMemory, faults: newFaults()}
	config := o.config
	config.Middleware = s.middleware(o)
	if config.Logger == nil && o.log {
		config.Logger = slog.New(slog.NewTextHandler(newTestLog(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.logRequests {
		config.Logger = withRequests(t, config.Logger)
	}
	if o.auditPolicy != nil {
		config.Audit.Policy, config.Audit.Log.Writer = o.auditPolicy, newTestLog(t)
	}
	server, err := kayak.New(config)
	if err != nil {
		t.Fatalf("kayaktest: %v", err)
	}
	s.server = server
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := server.Start(ctx); err != nil {
		t.Fatalf("kayaktest: cannot start the server: %v", err)
	}
	t.Cleanup(s.Stop)
	if err := s.install(ctx, o); err != nil {
		t.Fatalf("kayaktest: %v", err)
	}
	return s
}

// Stop stops the server before the test ends. Stopping it again does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.faults.close()
	if err := s.server.Stop(ctx); err != nil {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		s.t.Errorf("kayaktest: cannot stop the server: %v\n%s", err, stacks.String())
	}
	if s.webhooks != nil {
		s.webhooks.close() // the server asks them to the last
	}
}

// Config returns a client configuration for the administrator, a member of system:masters. It has no rate limit.
func (s *Server) Config() *rest.Config {
	if s.inMemory {
		return s.ConfigFor(Admin, user.SystemPrivilegedGroup)
	}
	config := s.server.RESTConfig()
	config.QPS = -1
	return config
}

// Admin is the name of the administrator.
const Admin = "kubernetes-admin"

// ConfigFor returns a client configuration for a user who is in the groups. The user need not exist: in Kubernetes, users are
// names. Without groups of its own, a user is in system:authenticated.
func (s *Server) ConfigFor(name string, groups ...string) *rest.Config {
	s.t.Helper()
	if s.inMemory {
		return s.server.ConfigFor(name, append(append([]string{}, groups...), user.AllAuthenticated)...)
	}
	config, err := s.server.RESTConfigFor(name, groups...)
	if err != nil {
		s.t.Fatalf("kayaktest: %v", err)
	}
	config.QPS = -1
	return config
}

// URL is where the server listens.
func (s *Server) URL() string { return s.server.URL() }

// Compact drops the history: watches and pages of lists that begin at a resource version from before get 410 Expired.
func (s *Server) Compact() {
	s.t.Helper()
	if err := s.server.Compact(context.Background()); err != nil {
		s.t.Fatalf("kayaktest: %v", err)
	}
}

// ExpireEvents does what an hour does: every event that there is disappears. It returns how many.
func (s *Server) ExpireEvents() int {
	s.t.Helper()
	n, err := s.server.ExpireEvents(context.Background())
	if err != nil {
		s.t.Fatalf("kayaktest: %v", err)
	}
	return n
}

// Snapshot saves what the server holds now, for FromSnapshot. It can be used after the server has ended, and by other tests.
func (s *Server) Snapshot() *kayak.Snapshot {
	s.t.Helper()
	snapshot, err := s.server.Snapshot(context.Background())
	if err != nil {
		s.t.Fatalf("kayaktest: %v", err)
	}
	return snapshot
}

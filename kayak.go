// Package kayak is a Kubernetes API server that can be embedded in a program.
//
//	server, err := kayak.New(kayak.Config{})
//	err = server.Start(ctx)            // serves and is ready when it returns
//	client, err := kubernetes.NewForConfig(server.RESTConfig())
//	err = server.Stop(ctx)
//
// A server is self-contained: any number of them can live in one process, each with its own data or none. The zero Config is
// a server in memory on a free port; with a data directory it keeps its objects in an embedded etcd and survives kill -9;
// with the addresses of an etcd cluster it is one of any number of stateless servers over that.
package kayak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/bootstrap"
	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/openapi"
	"github.com/kayak-k8s/kayak/internal/server"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/compact"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// Server is one API server. Make it with New, then Start it once.
type Server struct {
	config Config
	log    *slog.Logger

	listener net.Listener
	material *bootstrap.Material
	store    store.Store
	state    *state.State
	http     *server.Server
	unlock   func()

	// background is what runs until Stop.
	background sync.WaitGroup
	cancel     context.CancelFunc
	stopOnce   sync.Once
	stopErr    error
	failed     chan error
}

// New returns a server that is not running and has touched nothing yet.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if _, err := netip.ParseAddr(config.BindAddress); err != nil {
		return nil, fmt.Errorf("bind address %q is not an IP address", config.BindAddress)
	}
	return &Server{config: config, log: config.Logger, failed: make(chan error, 1)}, nil
}

// Start makes or loads certificates, opens the store, loads what is in it and serves. It returns when the server is ready, or
// with the error that kept it from that; then nothing is left running. ctx bounds the start only.
func (s *Server) Start(ctx context.Context) error {
	err := s.start(ctx)
	if err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.Stop(stopping) // the error of the start is the one that matters
	}
	return err
}

func (s *Server) start(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- s.openStore(ctx) }() // etcd needs a moment; meanwhile there are certificates to make
	materialErr := s.prepareMaterial()
	if err := errors.Join(<-opened, materialErr); err != nil {
		return err
	}
	api, err := s.assemble()
	if err != nil {
		return err
	}
	s.run(background)
	if err := s.state.WaitSynced(ctx); err != nil {
		return fmt.Errorf("cannot load the objects from the store: %w", err)
	}
	if err := api.namespaces.Ensure(ctx); err != nil {
		return fmt.Errorf("cannot create the system namespaces: %w", err)
	}
	s.goRun(func() { api.namespaces.Run(background) })
	close(api.started)
	return nil
}

func (s *Server) listen() error {
	address := net.JoinHostPort(s.config.BindAddress, strconv.Itoa(s.config.Port))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", address, innermost(err))
	}
	s.listener = listener
	return nil
}

// innermost drops what net puts around an error and what the text above says already.
func innermost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (s *Server) lock() error {
	if s.config.DataDir == "" {
		return nil
	}
	unlock, err := bootstrap.Lock(s.config.DataDir)
	s.unlock = unlock
	return err
}

func (s *Server) prepareMaterial() (err error) {
	options := bootstrap.Options{
		Dir: s.config.DataDir, Server: s.URL(), ServiceIPs: []netip.Addr{serviceIP},
		Hosts: []string{s.config.BindAddress}, Logger: s.log,
	}
	if s.config.DataDir == "" {
		s.material, err = bootstrap.Generate(options)
	} else {
		s.material, err = bootstrap.Prepare(options)
	}
	return err
}

// assembled is what start needs of the parts.
type assembled struct {
	namespaces *controllers.SystemNamespaces
	started    chan struct{}
}

// assemble puts the parts together; nothing runs yet.
func (s *Server) assemble() (*assembled, error) {
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		return nil, err
	}
	table := kind.NewTable(kinds...)
	root := "/" + strings.Trim(s.config.Etcd.Prefix, "/") + "/" // with or without slashes, as upstream
	s.state = state.New(state.Options{
		Store: s.store, Prefix: root, Families: families(table, root), Logger: s.log,
		HistoryBytes: s.config.HistoryBytes, EncodingBytes: s.config.EncodingCacheBytes,
	})
	authorizer := authz.New()
	stopping := make(chan struct{})
	api := &verb.API{
		State: s.state, Store: s.store, Root: root, Authorizer: authorizer,
		EventTTL: s.config.EventTTL, MinRequestTimeout: s.config.MinRequestTimeout,
		DeleteCollectionWorkers: s.config.DeleteCollectionWorkers, Stopping: stopping,
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.material.CA.CertPEM)
	chain := &authn.Chain{
		Plugins: []authenticator.Request{
			authn.NewCertificates(func() *x509.CertPool { return clients }),
			authn.NewTokens(),
		},
		Anonymous: *s.config.AnonymousAuth,
	}
	started := make(chan struct{})
	documents := discovery.New(table, discovery.Options{ServerAddress: s.listener.Addr().String()})
	s.http = server.New(server.Options{
		Kinds: table, API: api, Discovery: documents, OpenAPI: openapi.New(table),
		Authenticate: chain.Authenticate, Authorizer: authorizer,
		Checks: s.checks(started), Metrics: server.NewMetrics(),
		MaxReadOnly: s.config.MaxRequestsInflight, MaxMutating: s.config.MaxMutatingRequestsInflight,
		RequestTimeout: s.config.RequestTimeout, Stopping: stopping, Logger: s.log,
	})
	documents.SetPaths(s.http.Paths())
	return &assembled{
		namespaces: &controllers.SystemNamespaces{API: api, Resource: table.Resource("", "v1", "namespaces"), Logger: s.log},
		started:    started,
	}, nil
}

// families tells the state which keys belong together.
func families(table *kind.Table, root string) []state.Family {
	var list []state.Family
	seen := map[string]bool{}
	for _, k := range table.Kinds() {
		if !k.Stored() || seen[k.Prefix] { // the two groups that have events share their keys
			continue
		}
		seen[k.Prefix] = true
		list = append(list, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
	}
	return list
}

// checks are the parts of the server's health.
func (s *Server) checks(started <-chan struct{}) []server.Check {
	reachable := func(ctx context.Context) error {
		_, err := s.store.Status(ctx)
		return err
	}
	return []server.Check{
		{Name: "etcd", Run: reachable},
		{Name: "etcd-readiness", Run: reachable, ReadyOnly: true},
		{Name: "informer-sync", ReadyOnly: true, Run: func(context.Context) error {
			if !s.state.Synced() {
				return errors.New("the state is not following the store")
			}
			return nil
		}},
		{Name: "poststarthook/start-system-namespaces-controller", Run: func(context.Context) error {
			select {
			case <-started:
				return nil
			default:
				return errors.New("not finished")
			}
		}},
	}
}

// run starts what works in the background.
func (s *Server) run(ctx context.Context) {
	s.goRun(func() { _ = s.state.Run(ctx) })
	if s.config.CompactionInterval > 0 {
		s.goRun(func() { _ = compact.Run(ctx, s.store, s.config.CompactionInterval, s.log) })
	}
	config := &tls.Config{Certificates: []tls.Certificate{s.material.Serving.TLS()}, MinVersion: tls.VersionTLS12}
	s.goRun(func() {
		if err := s.http.Serve(s.listener, config); err != nil {
			s.failed <- err
		}
	})
}

func (s *Server) goRun(fn func()) { s.background.Go(fn) }

// Failed delivers the error that ended the serving before Stop did.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop ends the server: watches are closed, requests under way are finished for as long as ctx allows, and everything that was
// started is gone when it returns. Further calls return what the first returned.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Shutdown(ctx))
	}
	if s.listener != nil {
		_ = s.listener.Close() // already closed when it was served
	}
	if s.cancel != nil {
		s.cancel()
	}
	s.background.Wait()
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.unlock != nil {
		s.unlock()
	}
	return errors.Join(errs...)
}

// URL is where the server listens, for clients on this machine.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	address := s.listener.Addr().(*net.TCPAddr)
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(address.Port))
}

// RESTConfig returns a client configuration for the administrator, a member of system:masters. The server must have been
// started.
func (s *Server) RESTConfig() *rest.Config {
	return &rest.Config{
		Host: s.URL(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: s.material.CA.CertPEM, CertData: s.material.Admin.CertPEM, KeyData: s.material.Admin.KeyPEM,
		},
	}
}

// Kubeconfig returns the same as a kubeconfig.
func (s *Server) Kubeconfig() *clientcmdapi.Config { return s.material.Kubeconfig(s.URL()) }

// KubeconfigPath returns the file that holds it, in the data directory; empty without one.
func (s *Server) KubeconfigPath() string {
	if s.config.DataDir == "" {
		return ""
	}
	return s.material.Path("admin.kubeconfig")
}

// Handler returns the server as a handler, without TLS. Requests that reach it so have no client certificate.
func (s *Server) Handler() http.Handler { return s.http }

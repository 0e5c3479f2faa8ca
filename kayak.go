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
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/bootstrap"
	"github.com/kayak-k8s/kayak/internal/connect"
	"github.com/kayak-k8s/kayak/internal/controllers/manager"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/loopback"
	"github.com/kayak-k8s/kayak/internal/runtimeconfig"
	"github.com/kayak-k8s/kayak/internal/server"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/compact"
)

// Server is one API server. Make it with New, then Start it once.
type Server struct {
	config Config
	log    *slog.Logger
	// advertise is the server's address in the endpoints of the Service "kubernetes"; the zero Addr: it is not in them.
	advertise netip.Addr

	listener net.Listener
	material *bootstrap.Material
	tls      *tls.Config
	store    store.Store
	state    *state.State
	apis     *runtimeconfig.Config
	http     *server.Server
	logs     *os.Root
	audit    *audit.Auditor
	unlock   func()

	connections *connect.Connections

	// background is what runs until Stop.
	background sync.WaitGroup
	// leave takes the server out of the endpoints of the Service "kubernetes".
	leave func(ctx context.Context)
	// stopControllers ends the controllers that run in this server.
	stopControllers func()
	cancel          context.CancelFunc
	stopOnce        sync.Once
	stopErr         error
	failed          chan error
}

// New returns a server that is not running and has touched nothing yet.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if _, err := netip.ParseAddr(config.BindAddress); err != nil {
		return nil, fmt.Errorf("bind address %q is not an IP address", config.BindAddress)
	}
	apis, err := runtimeconfig.Parse(config.RuntimeConfig, config.BetaAPIs, builtin.Schemes()...)
	if err != nil {
		return nil, err
	}
	if err := config.checkServiceIPs(); err != nil {
		return nil, err
	}
	if err := config.Serving.check(); err != nil {
		return nil, err
	}
	if err := errors.Join(config.Authentication.Check(), config.Authorization.Check(), config.Audit.Check()); err != nil {
		return nil, err
	}
	if err := errors.Join(manager.Check(config.Controllers), config.Admission.Check()); err != nil {
		return nil, err
	}
	advertise, err := config.advertised()
	if err != nil {
		return nil, err
	}
	return &Server{config: config, log: config.Logger, advertise: advertise, apis: apis, failed: make(chan error, 1)}, nil
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
	if err := errors.Join(s.openLogs(), s.openAudit()); err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- s.openStore(ctx) }() // etcd needs a moment; meanwhile there are certificates to make
	materialErr := s.prepareMaterial()
	if err := errors.Join(<-opened, materialErr); err != nil {
		return err
	}
	parts, err := s.assemble(background)
	if err != nil {
		return err
	}
	s.run(background)
	if err := s.state.WaitSynced(ctx); err != nil {
		return fmt.Errorf("cannot load the objects from the store: %w", err)
	}
	s.leave = parts.service.Close
	if err := parts.ensure(ctx); err != nil {
		return err
	}
	for _, c := range slices.Concat(parts.controllers, parts.policy) {
		s.goRun(func() { c.Run(background) })
	}
	s.goRun(func() { parts.refusals.run(background) })
	close(parts.started)
	return s.startControllers(background, parts)
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

// openLogs opens the directory that is served at /logs/.
func (s *Server) openLogs() (err error) {
	if s.config.LogDirectory == "" {
		return nil
	}
	if s.config.DataDir != "" && (within(s.config.DataDir, s.config.LogDirectory) || within(s.config.LogDirectory, s.config.DataDir)) {
		return fmt.Errorf("the log directory %s must not share a path with the data directory %s: it is served to clients, and "+
			"there are keys", s.config.LogDirectory, s.config.DataDir)
	}
	if s.logs, err = os.OpenRoot(s.config.LogDirectory); err != nil {
		return fmt.Errorf("cannot open the log directory: %w", err)
	}
	return nil
}

// within reports whether a path is a directory or below it, links resolved as far as they exist.
func within(path, dir string) bool {
	for _, p := range []*string{&path, &dir} {
		if abs, err := filepath.Abs(*p); err == nil {
			*p = abs
		}
		if real, err := filepath.EvalSymlinks(*p); err == nil {
			*p = real
		}
	}
	relative, err := filepath.Rel(dir, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
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
		Dir: s.config.DataDir, Server: s.URL(), ServiceIPs: []netip.Addr{s.config.serviceIP()},
		Hosts: []string{s.config.BindAddress}, Logger: s.log,
	}
	if s.advertise.IsValid() {
		options.Hosts = append(options.Hosts, s.advertise.String())
	}
	if options.Trust, err = s.config.Serving.trust(); err != nil {
		return err
	}
	if s.config.DataDir == "" {
		if s.config.Snapshot != nil {
			options.From = s.config.Snapshot.material
		}
		s.material, err = bootstrap.Generate(options)
	} else {
		s.material, err = bootstrap.Prepare(options)
	}
	if err != nil {
		return err
	}
	s.tls, err = s.tlsConfig()
	return err
}

// checks are the parts of the server's health.
func (s *Server) checks(started <-chan struct{}) []server.Check {
	hook := func(context.Context) error {
		select {
		case <-started:
			return nil
		default:
			return errors.New("not finished")
		}
	}
	return []server.Check{
		{Name: "etcd", Run: s.storeReachable},
		{Name: "etcd-readiness", Run: s.storeReachable, ReadyOnly: true},
		{Name: "informer-sync", ReadyOnly: true, Run: func(context.Context) error {
			if !s.state.Synced() {
				return errors.New("the state is not following the store")
			}
			return nil
		}},
		{Name: "poststarthook/start-system-namespaces-controller", Run: hook},
		{Name: "poststarthook/rbac/bootstrap-roles", Run: hook},
	}
}

// run starts what works in the background.
func (s *Server) run(ctx context.Context) {
	s.goRun(func() { _ = s.state.Run(ctx) })
	if s.config.CompactionInterval > 0 {
		s.goRun(func() { _ = compact.Run(ctx, s.store, s.config.CompactionInterval, s.log) })
	}
	s.goRun(func() {
		if err := s.http.Serve(s.listener, s.tls); err != nil {
			s.failed <- err
		}
	})
}

func (s *Server) goRun(fn func()) { s.background.Go(fn) }

// Failed delivers the error that ended the serving before Stop did.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop ends the server: watches are closed, requests under way are finished for as long as ctx allows, and everything that was
// started is gone when it returns without an error. Further calls return what the first returned.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	var errs []error
	if s.leave != nil {
		leaving, cancel := context.WithTimeout(ctx, leaveTime)
		s.leave(leaving) // while requests are still served
		cancel()
	}
	if s.stopControllers != nil {
		s.stopControllers() // likewise
	}
	if s.http != nil {
		s.catchUp(ctx)
		errs = append(errs, s.http.Shutdown(ctx))
	}
	if s.connections != nil {
		s.connections.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close() // already closed when it was served
	}
	if s.cancel != nil {
		s.cancel()
	}
	errs = append(errs, s.waitForBackground(ctx))
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	errs = append(errs, s.audit.Close(ctx))
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.unlock != nil {
		s.unlock()
	}
	return errors.Join(errs...)
}

// backgroundTime is how much longer than its context Stop waits for what runs in the background, which ends at once unless it is stuck.
const backgroundTime = 10 * time.Second

// errStuck is why Stop returned before everything was gone.
var errStuck = errors.New("what runs in the background does not end")

func (s *Server) waitForBackground(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.background.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	case <-time.After(backgroundTime):
		return errStuck
	}
}

// leaveTime bounds it, likewise: where the server is missed, its lease ends by itself.
const leaveTime = 300 * time.Millisecond

// catchUpTime bounds the wait for a store that does not answer any more.
const catchUpTime = time.Second

// catchUp waits until watchers can be told of everything that was acknowledged.
func (s *Server) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if s.state.Synced() {
		_, _ = s.state.Consistent(ctx) // what cannot be had is not worth waiting for
	}
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
			CAData: s.material.Authorities(), CertData: s.material.Admin.CertPEM, KeyData: s.material.Admin.KeyPEM,
			ServerName: s.serverName(s.listener.Addr().(*net.TCPAddr).IP.String()),
		},
	}
}

// Kubeconfig returns the same as a kubeconfig.
func (s *Server) Kubeconfig() *clientcmdapi.Config {
	config := s.material.Kubeconfig(s.URL())
	for _, cluster := range config.Clusters {
		cluster.TLSServerName = s.RESTConfig().ServerName
	}
	return config
}

// KubeconfigPath returns the file that holds it, in the data directory; empty without one.
func (s *Server) KubeconfigPath() string {
	if s.config.DataDir == "" {
		return ""
	}
	return s.material.Path("admin.kubeconfig")
}

// Handler returns the server as a handler, without TLS. Requests that reach it so have no client certificate.
func (s *Server) Handler() http.Handler { return s.http }

// RESTConfigFor returns a client configuration for a user with groups, with a client certificate of the server's own authority,
// valid for a year. The server must have been started.
func (s *Server) RESTConfigFor(name string, groups ...string) (*rest.Config, error) {
	pair, err := s.material.CA.ClientCertificate(name, groups, clientCertificateLife)
	if err != nil {
		return nil, err
	}
	config := s.RESTConfig()
	config.CertData, config.KeyData = pair.CertPEM, pair.KeyPEM
	return config, nil
}

const clientCertificateLife = 365 * 24 * time.Hour

// ConfigFor returns a client configuration for clients in this process that are the user, with the groups: no socket, no TLS, no
// credentials. Whoever is a member of system:authenticated says so. The server must have been started.
func (s *Server) ConfigFor(name string, groups ...string) *rest.Config {
	return loopback.Config(s.http, &user.DefaultInfo{Name: name, Groups: groups})
}

package manager

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	serviceaccounttokens "k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/loopback"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Options are what a manager needs; all are required unless they say otherwise.
type Options struct {
	// Controllers are the switches; nil is "*".
	Controllers []string
	State       *state.State
	// Root is the prefix of all keys.
	Root  string
	Kinds Kinds
	// Handler serves the requests of controllers.
	Handler http.Handler
	// Elect names this server among those that share a store; empty when it has the store for itself.
	Elect string
	// RootCA is what the server's certificate is verified with, as PEM.
	RootCA []byte
	// SigningCert and SigningKey are the files of the authority that signs certificates. Without files it is in SigningPEM.
	SigningCert, SigningKey string
	SigningPEM              struct{ Cert, Key []byte }
	// Tokens makes the tokens in Secrets; nil for none.
	Tokens serviceaccounttokens.TokenGenerator
	Logger *slog.Logger
}

// Manager runs controllers.
type Manager struct {
	options Options
	on      []descriptor
}

// New returns a manager that does nothing yet. It fails when there is no such controller.
func New(options Options) (*Manager, error) {
	on, err := selected(options.Controllers)
	return &Manager{options, on}, err
}

// Check returns an error when switches name a controller that there is not.
func Check(switches []string) error {
	_, err := selected(switches)
	return err
}

// Run runs the controllers until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	if len(m.on) == 0 {
		return
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(&until{ctx, m.options.Logger.Handler()}))
	if m.options.Elect != "" {
		m.elect(ctx)
		return
	}
	m.run(ctx)
}

func (m *Manager) run(ctx context.Context) {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(lastRequests, cancel) })
	f := newFeed(m.options.State, m.options.Logger)
	options := m.options
	options.Kinds = options.Kinds.following(f, options.Root)
	e := &environment{Options: options, requests: requests, feed: f, factory: newFactory(f, options.Root, options.Kinds)}
	var loops []func()
	for _, d := range m.on {
		if d.make == nil {
			continue
		}
		loop, err := d.make(ctx, e)
		if err != nil {
			m.options.Logger.Error("cannot start a controller", "controller", d.name, "error", err)
			continue
		}
		loops = append(loops, func() { loop(ctx) })
	}
	follow := f.start()
	together(append(loops, func() { follow(ctx) })...)
}

// together runs functions side by side until all have returned.
func together(fns ...func()) {
	var group sync.WaitGroup
	for _, fn := range fns {
		group.Go(fn)
	}
	group.Wait()
}

// environment is what controllers are made from.
type environment struct {
	Options
	// requests is the context of requests: they may end a little later than the controllers.
	requests context.Context
	feed     *feed
	factory  *factory
	// graph is the garbage collector's, once that is made.
	graph *garbagecollector.GraphBuilder
}

// config is a client configuration for a controller: it is the service account of that name in kube-system.
func (e *environment) config(account string) *rest.Config {
	config := e.configFor(&user.DefaultInfo{
		Name:   serviceaccount.MakeUsername(metav1.NamespaceSystem, account),
		Groups: append(serviceaccount.MakeGroupNames(metav1.NamespaceSystem), user.AllAuthenticated, privileged),
	})
	config.UserAgent = "kube-controller-manager/" + account
	return config
}

// root is what kube-controller-manager itself is, for what it does not do as a service account.
func (e *environment) root() *rest.Config {
	return e.configFor(&user.DefaultInfo{Name: user.KubeControllerManager, Groups: []string{user.AllAuthenticated, privileged}})
}

func (e *environment) configFor(u user.Info) *rest.Config {
	config := loopback.Config(e.Handler, u)
	config.Transport = &inTheirOwnTime{config.Transport, e.requests}
	config.UserAgent = "kube-controller-manager"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType + ",application/json"
	return config
}

// lastRequests is how long requests under way have when controllers are to end.
const lastRequests = 150 * time.Millisecond

// inTheirOwnTime lets requests that are under way when a controller is to end come to their own end, which is a matter of a
// millisecond: controllers would report each as an error.
type inTheirOwnTime struct {
	next http.RoundTripper
	ctx  context.Context
}

// RoundTrip implements http.RoundTripper.
func (t *inTheirOwnTime) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.next.RoundTrip(r.WithContext(t.ctx))
}

// privileged is a group whose members may do everything. Controllers of the server's own work under every --authorization-mode,
// also where the roles that upstream gives them say nothing.
const privileged = user.SystemPrivilegedGroup

// coreOnly is a client for the core group, and for nothing else: one for all groups takes some sixty clients of its own.
type coreOnly struct {
	kubernetes.Interface // nil
	v1                   *corev1client.CoreV1Client
}

func (c *coreOnly) CoreV1() corev1client.CoreV1Interface { return c.v1 }

func coreClient(config *rest.Config) (*coreOnly, error) {
	v1, err := corev1client.NewForConfig(config)
	return &coreOnly{v1: v1}, err
}

// until drops what controllers have to say once their context has ended: that what they were at did not succeed.
type until struct {
	ctx context.Context
	slog.Handler
}

func (u *until) Enabled(ctx context.Context, level slog.Level) bool {
	return u.ctx.Err() == nil && u.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler: for errors, logr does not ask before.
func (u *until) Handle(ctx context.Context, record slog.Record) error {
	if u.ctx.Err() != nil {
		return nil
	}
	return u.Handler.Handle(ctx, record)
}

func (u *until) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &until{u.ctx, u.Handler.WithAttrs(attrs)}
}

func (u *until) WithGroup(name string) slog.Handler { return &until{u.ctx, u.Handler.WithGroup(name)} }

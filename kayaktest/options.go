package kayaktest

import (
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/kayak-k8s/kayak"
)

// Option says what a server is to be, see Start. Later options come after earlier ones.
type Option func(*options)

type options struct {
	config      kayak.Config
	inMemory    bool
	log         bool
	logRequests bool
	crdPaths    []string
	crds        []*apiextensionsv1.CustomResourceDefinition
	webhooks    *WebhookOptions
}

func newOptions(opts []Option) *options {
	o := &options{config: kayak.Config{BetaAPIs: true}}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// With changes the configuration of the server, by everything that kayak.Config has. What it sets as Middleware is put inside of
// what this package puts there.
func With(change func(*kayak.Config)) Option {
	return func(o *options) { change(&o.config) }
}

// InMemory has clients reach the server inside the process: their configurations have a transport of their own, without socket,
// TLS and credentials. exec, attach and port-forward need a socket.
func InMemory() Option {
	return func(o *options) { o.inMemory = true }
}

// FromSnapshot has the server begin with what another one held: objects, with their UIDs and resource versions, and authority and
// keys, so that tokens and certificates from the one are good with the other.
func FromSnapshot(snapshot *kayak.Snapshot) Option {
	return func(o *options) { o.config.Snapshot = snapshot }
}

// RuntimeConfig switches APIs on and off, as kube-apiserver's --runtime-config does: RuntimeConfig("api/alpha=true"). Beta APIs are
// on as it is.
func RuntimeConfig(settings ...string) Option {
	return func(o *options) { o.config.RuntimeConfig = addSettings(o.config.RuntimeConfig, settings) }
}

// CRDs installs the CustomResourceDefinitions in files and directories, YAML or JSON; what else is in them is passed over. They
// are established when the server is ready.
func CRDs(paths ...string) Option {
	return func(o *options) { o.crdPaths = append(o.crdPaths, paths...) }
}

// CRDObjects installs CustomResourceDefinitions. They are established when the server is ready.
func CRDObjects(crds ...*apiextensionsv1.CustomResourceDefinition) Option {
	return func(o *options) { o.crds = append(o.crds, crds...) }
}

// Webhooks installs admission webhooks, and points conversion webhooks of CRDs at the same place.
func Webhooks(w WebhookOptions) Option {
	return func(o *options) { o.webhooks = &w }
}

// Log writes what the server has to say, debugging included, to the test's log.
func Log() Option { return func(o *options) { o.log = true } }

// LogRequests writes a line about every request to the test's log: who, what, the answer and how long it took.
func LogRequests() Option { return func(o *options) { o.logRequests = true } }

// middleware puts together what is around the answering of requests, from the outside in: the log, faults, the test's own.
func (s *Server) middleware(o *options) func(http.Handler) http.Handler {
	own := o.config.Middleware
	return func(next http.Handler) http.Handler {
		if own != nil {
			next = own(next)
		}
		next = s.faults.handler(next)
		if o.logRequests {
			next = logRequests(s.t, next)
		}
		return next
	}
}

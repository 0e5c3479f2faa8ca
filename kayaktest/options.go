package kayaktest

import (
	"net/http"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

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
	gates       []string
	auditPolicy *auditv1.Policy
}

func newOptions(opts []Option) *options {
	o := &options{config: kayak.Config{BetaAPIs: true}}
	o.config.Admission.Disable = []string{"ServiceAccount"} // as envtest does: pods need no accounts
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

// Authorization sets the modes of authorization, as kube-apiserver's --authorization-mode does: Authorization("AlwaysAllow").
// kayak.Config.Authorization, through With, has the rest.
func Authorization(modes ...string) Option {
	return func(o *options) { o.config.Authorization.Modes = modes }
}

// Controllers says which of kube-controller-manager's controllers run in the server, in the syntax of its --controllers: names,
// "-name", and "*" for those that are on by default, as they are without this option. Controllers() is none.
func Controllers(names ...string) Option {
	return func(o *options) { o.config.Controllers = append([]string{}, names...) }
}

// FeatureGates switches features of Kubernetes on and off, as --feature-gates does: FeatureGates("PodCertificateRequest=true"). Other
// than all else here, feature gates are the process's and not the server's: that is how upstream made them. So they are set until the
// test ends, and the test can be no parallel one. It must not have servers from before that are still in use.
func FeatureGates(settings ...string) Option {
	return func(o *options) { o.gates = append(o.gates, settings...) }
}

// AdmissionPlugins switches admission plugins on, and with a minus before the name off: AdmissionPlugins("-LimitRanger",
// "AlwaysPullImages"). What is not named stays as it is by default: kube-apiserver's plugins, without ServiceAccount, so that pods
// need no service accounts.
func AdmissionPlugins(names ...string) Option {
	return func(o *options) {
		a := &o.config.Admission
		for _, name := range names {
			off, isOff := strings.CutPrefix(name, "-")
			other := func(listed string) bool { return listed == off }
			a.Enable, a.Disable = slices.DeleteFunc(a.Enable, other), slices.DeleteFunc(a.Disable, other)
			if isOff {
				a.Disable = append(a.Disable, off)
			} else {
				a.Enable = append(a.Enable, name)
			}
		}
	}
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

// LogRequests writes a line about every request to the test's log when it is over: what, by whom, the answer and how long it took.
// Those that were refused are among them, and those of the server's own controllers. AuditLog has
// more, and a choice.
func LogRequests() Option { return func(o *options) { o.logRequests = true } }

// AuditLog writes an audit event about every request to the test's log when it is answered, in one line of JSON, with what the level has
// in it: AuditLog("Metadata"), "Request", "RequestResponse". Rules, which are asked first, make exceptions:
//
//	kayaktest.AuditLog(auditv1.LevelNone, auditv1.PolicyRule{
//		Level: auditv1.LevelRequestResponse, Resources: []auditv1.GroupResources{{Group: "apps"}},
//	})
//
// kayak.Config.Audit, through With, has the rest of what kube-apiserver's auditing can do.
func AuditLog(level auditv1.Level, rules ...auditv1.PolicyRule) Option {
	return func(o *options) {
		o.auditPolicy = &auditv1.Policy{
			Rules:      append(slices.Clone(rules), auditv1.PolicyRule{Level: level}),
			OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
		}
	}
}

// middleware puts together what is around the answering of requests, from the outside in: faults, the test's own.
func (s *Server) middleware(o *options) func(http.Handler) http.Handler {
	own := o.config.Middleware
	return func(next http.Handler) http.Handler {
		if own != nil {
			next = own(next)
		}
		return s.faults.handler(next)
	}
}

package admission

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	"k8s.io/kubernetes/pkg/kubeapiserver/admission/exclusion"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"

	"github.com/kayak-k8s/kayak/internal/informers"
	"github.com/kayak-k8s/kayak/internal/kind"
)

// Options are what a chain needs.
type Options struct {
	Config Config
	// Life ends with the server; what plugins have in the background ends then.
	Life context.Context
	// Informers show the state.
	Informers *informers.Factory
	// Fresh shows the state as new as the store.
	Fresh *informers.Factory
	// Client and Dynamic ask the server itself, as itself. Loopback is their configuration.
	Client   kubernetes.Interface
	Dynamic  dynamic.Interface
	Loopback *rest.Config
	// Served returns the kinds that are served.
	Served func() *kind.Table
	// Mapper finds resources of kinds.
	Mapper meta.RESTMapper
	// Namespace returns a namespace as it is now.
	Namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	// Authorizer is asked by plugins that look at what a user may do besides.
	Authorizer authorizer.UnconditionalAuthorizer
	// Converter returns what merges objects of a kind; nil when there are no types of it.
	Converter func(schema.GroupVersionKind) managedfields.TypeConverter
	// Service finds the address of a service that a webhook is at.
	Service func(namespace, name string, port int32) (*url.URL, error)
	// ServerID tells servers apart in metrics.
	ServerID string

	// parameters are the resources that policies have parameters in, or once had.
	parameters *sync.Map
}

// Governing are the kinds that admission goes by: a write of one is to be acknowledged when the state has it.
func Governing() []schema.GroupResource {
	const registration = "admissionregistration.k8s.io"
	return []schema.GroupResource{
		{Resource: "namespaces"}, {Resource: "limitranges"}, {Resource: "resourcequotas"}, {Resource: "serviceaccounts"},
		{Group: "scheduling.k8s.io", Resource: "priorityclasses"}, {Group: "node.k8s.io", Resource: "runtimeclasses"},
		{Group: "storage.k8s.io", Resource: "storageclasses"}, {Group: "networking.k8s.io", Resource: "ingressclasses"},
		{Group: registration, Resource: "validatingwebhookconfigurations"},
		{Group: registration, Resource: "mutatingwebhookconfigurations"},
		{Group: registration, Resource: "validatingadmissionpolicies"},
		{Group: registration, Resource: "validatingadmissionpolicybindings"},
		{Group: registration, Resource: "mutatingadmissionpolicies"},
		{Group: registration, Resource: "mutatingadmissionpolicybindings"},
	}
}

// New makes the chain of the enabled plugins. An error is what is wrong with their configuration. It returns nil when none are
// enabled.
func New(o Options) (*Chain, error) {
	names := o.Config.Enabled()
	if len(names) == 0 {
		return nil, nil
	}
	o.parameters = &sync.Map{}
	b := &builder{options: &o, registry: admission.NewPlugins()}
	for _, p := range all() {
		if p.register != nil {
			p.register(b.registry)
		}
	}
	var err error
	if b.file, err = o.Config.files(names); err != nil {
		return nil, err
	}
	if b.initializers, err = o.initializers(); err != nil {
		return nil, err
	}
	chain := &Chain{metrics: newMetrics(), parameters: o.parameters}
	chain.admitted, chain.checked = chain.metrics.ofStep("admit"), chain.metrics.ofStep("validate")
	mapper := equivalents{o.Served}
	chain.objects = func(interfaces admission.ObjectInterfaces) admission.ObjectInterfaces {
		return withEquivalents{interfaces, mapper}
	}
	for _, p := range o.Config.enabled() {
		plugin, err := b.plugin(p.name)
		if err != nil {
			return nil, err
		}
		chain.add(p, plugin)
	}
	return chain, nil
}

// builder makes plugins.
type builder struct {
	options      *Options
	registry     *admission.Plugins
	file         func(plugin string) (io.Reader, error)
	initializers admission.PluginInitializers
}

func (b *builder) plugin(name string) (admission.Interface, error) {
	if name == lifecycle.PluginName {
		return newNamespaceLifecycle(b.options), nil
	}
	file, err := b.file(name)
	if err != nil {
		return nil, err
	}
	create, update, remove, connect := admission.Create, admission.Update, admission.Delete, admission.Connect
	switch name {
	case mutatingpolicy.PluginName:
		l, err := b.lazy(name, file, "mutatingadmissionpolicies", func(r io.Reader) (admission.Interface, error) {
			return b.options.mutatingPolicies(r)
		}, create, update, connect)
		return &lazyMutator{l}, err
	case validatingpolicy.PluginName:
		l, err := b.lazy(name, file, "validatingadmissionpolicies", func(r io.Reader) (admission.Interface, error) {
			return b.options.validatingPolicies(r)
		}, connect, create, remove, update)
		return &lazyValidator{l}, err
	case mutatingwebhook.PluginName:
		l, err := b.lazy(name, file, "mutatingwebhookconfigurations", func(r io.Reader) (admission.Interface, error) {
			return mutatingwebhook.NewMutatingWebhook(r)
		}, connect, create, remove, update)
		return &lazyMutator{l}, err
	case validatingwebhook.PluginName:
		l, err := b.lazy(name, file, "validatingwebhookconfigurations", func(r io.Reader) (admission.Interface, error) {
			return validatingwebhook.NewValidatingAdmissionWebhook(r)
		}, connect, create, remove, update)
		return &lazyValidator{l}, err
	}
	plugin, err := b.registry.InitPlugin(name, file, b.initializers)
	if err == nil && name == resourcequota.PluginName {
		return b.quota(plugin, file != nil), nil
	}
	return plugin, err
}

// lazy makes a plugin that is made when it is needed, or at once when it has a configuration, whose errors end the start.
func (b *builder) lazy(name string, file io.Reader, configurations string,
	make func(io.Reader) (admission.Interface, error), operations ...admission.Operation) (lazy, error) {
	var text []byte
	if file != nil {
		var err error
		if text, err = io.ReadAll(file); err != nil {
			return lazy{}, err
		}
	}
	l := newLazy(b.options.registrations(configurations), func() (admission.Interface, error) {
		var again io.Reader
		if text != nil {
			again = bytes.NewReader(text)
		}
		plugin, err := make(again)
		if err != nil {
			return nil, fmt.Errorf("couldn't init admission plugin %q: %v", name, err) //nolint:errorlint // upstream's text
		}
		b.initializers.Initialize(plugin)
		if err := admission.ValidateInitialization(plugin); err != nil {
			return nil, fmt.Errorf("failed to initialize admission plugin %q: %v", name, err) //nolint:errorlint // upstream's text
		}
		return plugin, nil
	}, operations...)
	if text == nil {
		return l, nil
	}
	l.static = true
	_, err := l.get()
	return l, err
}

// registrations is the view of a resource of the group admissionregistration.k8s.io.
func (o *Options) registrations(resource string) *informers.Informer {
	return o.Informers.Of(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource})
}

// initializers give plugins what they ask for.
func (o *Options) initializers() (admission.PluginInitializers, error) {
	quotas, err := quotainstall.NewQuotaConfigurationForAdmission(o.Informers, enabled{o.Served})
	if err != nil {
		return nil, err
	}
	manifests, err := new(kubeadmission.Config).New()
	if err != nil {
		return nil, err
	}
	webhooks := webhookinit.NewPluginInitializer(
		withoutRedirects(webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, o.Loopback, nil)), services(o.Service))
	first := initializers{
		func(p admission.Interface) {
			if wants, ok := p.(initializer.WantsAPIServerID); ok {
				wants.SetAPIServerID(o.ServerID)
			}
			if wants, ok := p.(initializer.WantsDrainedNotification); ok {
				wants.SetDrainedNotification(o.Life.Done())
			}
			if wants, ok := p.(initializer.WantsEffectiveVersion); ok {
				wants.InspectEffectiveVersion(compatibility.DefaultBuildEffectiveVersion())
			}
			if wants, ok := p.(initializer.WantsFeatures); ok {
				wants.InspectFeatureGates(utilfeature.DefaultFeatureGate)
			}
		},
		func(p admission.Interface) {
			if wants, ok := p.(initializer.WantsExternalKubeClientSet); ok {
				wants.SetExternalKubeClientSet(o.Client)
			}
			if wants, ok := p.(initializer.WantsDynamicClient); ok {
				wants.SetDynamicClient(o.Dynamic)
			}
			if wants, ok := p.(initializer.WantsExternalKubeInformerFactory); ok {
				wants.SetExternalKubeInformerFactory(o.Informers)
			}
			if wants, ok := p.(initializer.WantsUnconditionalAuthorizer); ok {
				wants.SetUnconditionalAuthorizer(o.Authorizer)
			}
			if wants, ok := p.(initializer.WantsRESTMapper); ok {
				wants.SetRESTMapper(o.Mapper)
			}
		},
		func(p admission.Interface) {
			if wants, ok := p.(initializer.WantsQuotaConfiguration); ok {
				wants.SetQuotaConfiguration(quotas)
			}
			if wants, ok := p.(initializer.WantsExcludedAdmissionResources); ok {
				wants.SetExcludedAdmissionResources(exclusion.Excluded())
			}
		},
	}
	return append(admission.PluginInitializers{first, webhooks}, manifests...), nil
}

// initializers are functions as one admission.PluginInitializer.
type initializers []func(admission.Interface)

func (list initializers) Initialize(plugin admission.Interface) {
	for _, initialize := range list {
		initialize(plugin)
	}
}

// enabled says to quotas which resources are served (apiserver/pkg/server/storage.APIResourceConfigSource).
type enabled struct{ table func() *kind.Table }

func (e enabled) ResourceEnabled(gvr schema.GroupVersionResource) bool {
	return e.table().Resource(gvr.Group, gvr.Version, gvr.Resource) != nil
}

func (e enabled) ResourceExplicitlyEnabled(gvr schema.GroupVersionResource) bool {
	return e.ResourceEnabled(gvr)
}

func (e enabled) VersionExplicitlyEnabled(gv schema.GroupVersion) bool {
	return len(e.table().Version(gv.Group, gv.Version)) > 0
}

func (e enabled) AnyResourceForGroupEnabled(group string) bool {
	return len(e.table().GroupVersions(group)) > 0
}

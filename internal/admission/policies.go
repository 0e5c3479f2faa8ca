package admission

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/config"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak/internal/informers"
)

// Upstream's policy plugins look for changed policies once a second (policy/generic/policy_source.go). What follows are the same
// plugins, of the same parts, with a source of policies that reads the state whenever it is asked.

// validatingPolicies makes the plugin ValidatingAdmissionPolicy.
func (o *Options) validatingPolicies(file io.Reader) (*validatingpolicy.Plugin, error) {
	configuration, err := config.LoadValidatingConfig(file)
	if err != nil {
		return nil, err
	}
	plugin := &validatingpolicy.Plugin{Plugin: generic.NewPlugin(
		admission.NewHandler(admission.Connect, admission.Create, admission.Delete, admission.Update),
		func(clientinformers.SharedInformerFactory, kubernetes.Interface, dynamic.Interface, meta.RESTMapper) generic.Source[validatingpolicy.PolicyHook] {
			return newSource(o, o.registrations("validatingadmissionpolicies"), o.registrations("validatingadmissionpolicybindings"),
				validatingpolicy.NewValidatingAdmissionPolicyAccessor, validatingpolicy.NewValidatingAdmissionPolicyBindingAccessor,
				compileValidating)
		},
		func(a authorizer.UnconditionalAuthorizer, m *matching.Matcher, _ kubernetes.Interface) generic.Dispatcher[validatingpolicy.PolicyHook] {
			return validatingpolicy.NewDispatcher(a, generic.NewPolicyMatcher(m))
		},
	)}
	plugin.SetEnabled(true)
	plugin.SetStaticManifestsDir(configuration.StaticManifestsDir)
	return plugin, nil
}

// mutatingPolicies makes the plugin MutatingAdmissionPolicy.
func (o *Options) mutatingPolicies(file io.Reader) (*mutatingpolicy.Plugin, error) {
	configuration, err := config.LoadMutatingConfig(file)
	if err != nil {
		return nil, err
	}
	plugin := &mutatingpolicy.Plugin{Plugin: generic.NewPlugin(
		admission.NewHandler(admission.Create, admission.Update, admission.Connect),
		func(clientinformers.SharedInformerFactory, kubernetes.Interface, dynamic.Interface, meta.RESTMapper) generic.Source[mutatingpolicy.PolicyHook] {
			return newSource(o, o.registrations("mutatingadmissionpolicies"), o.registrations("mutatingadmissionpolicybindings"),
				mutatingpolicy.NewMutatingAdmissionPolicyAccessor, mutatingpolicy.NewMutatingAdmissionPolicyBindingAccessor,
				compileMutating)
		},
		func(a authorizer.UnconditionalAuthorizer, m *matching.Matcher, _ kubernetes.Interface) generic.Dispatcher[mutatingpolicy.PolicyHook] {
			return mutatingpolicy.NewDispatcher(a, m, converters{o.Converter})
		},
	)}
	plugin.SetStaticManifestsDir(configuration.StaticManifestsDir)
	return plugin, nil
}

// converters is a patch.TypeConverterManager: the types for merging are known, they need not be asked for.
type converters struct {
	of func(schema.GroupVersionKind) managedfields.TypeConverter
}

func (c converters) GetTypeConverter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	return c.of(gvk)
}

func (c converters) Run(context.Context) {}

// object is a type of policy or binding.
type object interface {
	runtime.Object
	metav1.Object
}

// source is a generic.Source: the policies that have bindings, compiled. It is safe for concurrent use.
//
// Ownership: mu guards compiled. changes counts the events that were heard of.
// Invariant: what current holds was read after its count of changes was.
type source[P, B object, E any] struct {
	options            *Options
	policies, bindings *informers.Informer
	policy             func(P) generic.PolicyAccessor
	binding            func(B) generic.BindingAccessor
	compile            func(P) E

	changes atomic.Int64
	current atomic.Pointer[hooks[P, B, E]]

	mu       sync.Mutex
	compiled map[string]compiled[E]
}

type hooks[P, B object, E any] struct {
	changes int64
	list    []generic.PolicyHook[P, B, E]
}

// compiled is a policy as it was at a resourceVersion.
type compiled[E any] struct {
	version   string
	evaluator E
}

func newSource[P, B object, E any](o *Options, policies, bindings *informers.Informer,
	policy func(P) generic.PolicyAccessor, binding func(B) generic.BindingAccessor, compile func(P) E) *source[P, B, E] {
	s := &source[P, B, E]{
		options: o, policies: policies, bindings: bindings,
		policy: policy, binding: binding, compile: compile, compiled: map[string]compiled[E]{},
	}
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.changes.Add(1) },
		UpdateFunc: func(any, any) { s.changes.Add(1) },
		DeleteFunc: func(any) { s.changes.Add(1) },
	}
	for _, informer := range []*informers.Informer{s.policies, s.bindings} {
		_, _ = informer.AddEventHandler(changed) // it always can
	}
	return s
}

// Run waits: there is nothing to run.
func (s *source[P, B, E]) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (s *source[P, B, E]) HasSynced() bool { return s.policies.HasSynced() }

// Hooks returns the policies in force, by name.
func (s *source[P, B, E]) Hooks() []generic.PolicyHook[P, B, E] {
	s.policies.Refresh()
	s.bindings.Refresh()
	if now := s.current.Load(); now != nil && now.changes == s.changes.Load() {
		return now.list
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := &hooks[P, B, E]{changes: s.changes.Load()}
	if current := s.current.Load(); current != nil && current.changes == now.changes {
		return current.list // somebody else was faster
	}
	list, complete := s.read()
	now.list = list
	if !complete {
		now.changes = -1 // look again the next time
	}
	s.current.Store(now)
	return list
}

// read reads and compiles the policies. complete is false when one of them names a kind of parameters that there is not, yet.
func (s *source[P, B, E]) read() (list []generic.PolicyHook[P, B, E], complete bool) {
	bindings := map[string][]B{}
	for _, obj := range s.bindings.List() {
		b := obj.(B)
		name := s.binding(b).GetPolicyName().Name
		bindings[name] = append(bindings[name], b)
	}
	complete = true
	kept := map[string]compiled[E]{}
	for _, obj := range s.policies.List() {
		p := obj.(P)
		bound := bindings[p.GetName()]
		if len(bound) == 0 {
			continue
		}
		c, ok := s.compiled[p.GetName()]
		if !ok || c.version != p.GetResourceVersion() {
			c = compiled[E]{p.GetResourceVersion(), s.compile(p)}
		}
		kept[p.GetName()] = c
		hook := generic.PolicyHook[P, B, E]{
			Policy: p, Bindings: bound, Evaluator: c.evaluator, DynamicClient: s.options.Dynamic, RESTMapper: s.options.Mapper,
		}
		hook.ParamInformer, hook.ParamScope, hook.ConfigurationError = s.params(s.policy(p).GetParamKind())
		complete = complete && hook.ConfigurationError == nil
		list = append(list, hook)
	}
	s.compiled = kept
	slices.SortFunc(list, func(a, b generic.PolicyHook[P, B, E]) int { return cmp.Compare(a.Policy.GetName(), b.Policy.GetName()) })
	return list, complete
}

// params finds where parameters are.
func (s *source[P, B, E]) params(k *v1.ParamKind) (clientinformers.GenericInformer, meta.RESTScope, error) {
	if k == nil {
		return nil, nil, nil
	}
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to parse paramKind APIVersion: %w", err)
	}
	gvk := gv.WithKind(k.Kind)
	mapping, err := s.options.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
	}
	s.options.parameters.Store(mapping.Resource.GroupResource(), true)
	informer, err := s.options.Informers.ForResource(mapping.Resource)
	return informer, mapping.Scope, err
}

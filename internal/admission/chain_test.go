package admission

import (
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/scheduling"
)

// A plugin with a scope has nothing to say about other resources: it does not even look at the object.
func TestScopes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	needConfiguration := []string{"EventRateLimit", "ImagePolicyWebhook"}
	for _, p := range all() {
		name := p.name
		if p.scope == nil || slices.Contains(needConfiguration, name) {
			continue
		}
		chain := f.chain(t, Config{Only: []string{name}})
		m := chain.plugins[0]
		for _, k := range f.table.Kinds() {
			if slices.Contains(m.scope, k.GroupResource()) {
				continue
			}
			gvr := schema.GroupVersionResource{Group: k.Group, Version: k.Versions[0], Resource: k.Resource}
			for _, op := range []admission.Operation{admission.Create, admission.Update, admission.Delete, admission.Connect} {
				if !m.plugin.Handles(op) {
					continue
				}
				a, o := f.write(gvr, "default", &metav1.Status{}, &metav1.Status{}, op)
				if m.mutator != nil {
					if err := m.mutator.Admit(t.Context(), a, o); err != nil {
						t.Errorf("%s has something to say about %v: %v", name, gvr, err)
					}
				}
				if m.validator != nil {
					if err := m.validator.Validate(t.Context(), a, o); err != nil {
						t.Errorf("%s has something to say about %v: %v", name, gvr, err)
					}
				}
			}
		}
	}
}

// TestUnconcerned: by default a delete concerns nobody, unless it is of a namespace, or there is a policy; and Priority, which says that it
// handles deletes, does not even look at the object.
func TestUnconcerned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	chain := f.chain(t, Config{})
	unconcerned := func(gvr schema.GroupVersionResource, kind string, op admission.Operation) bool {
		return chain.Unconcerned(admission.NewAttributesRecord(nil, nil, gvr.GroupVersion().WithKind(kind), "default", "a", gvr, "", op, nil, false, nil))
	}
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	for _, test := range []struct {
		gvr  schema.GroupVersionResource
		kind string
		op   admission.Operation
		want bool
	}{
		{pods, "Pod", admission.Delete, true}, {pods, "Pod", admission.Create, false}, {pods, "Pod", admission.Update, false},
		{namespaces, "Namespace", admission.Delete, false},
		{schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}, "Widget", admission.Delete, true},
		{schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}, "Widget", admission.Create, false},
	} {
		if got := unconcerned(test.gvr, test.kind, test.op); got != test.want {
			t.Errorf("%s of %s: unconcerned: %t", test.op, test.gvr.Resource, got)
		}
	}
	f.putLabelPolicy(t)
	if unconcerned(pods, "Pod", admission.Delete) {
		t.Error("a delete does not concern a policy")
	}
	priority := f.chain(t, Config{Only: []string{"Priority"}}).plugins[0]
	for _, k := range f.table.Kinds() {
		if !priority.scope.has(k.GroupResource()) {
			continue
		}
		gvr := schema.GroupVersionResource{Group: k.Group, Version: k.Versions[0], Resource: k.Resource}
		a, o := f.write(gvr, "default", &metav1.Status{}, &metav1.Status{}, admission.Delete)
		if err := errors.Join(priority.mutator.Admit(t.Context(), a, o), priority.validator.Validate(t.Context(), a, o)); err != nil {
			t.Errorf("Priority has something to say about deletes of %v: %v", gvr, err)
		}
	}
}

// The default chain as it is for most: there are classes of priority, and no webhooks, policies, limits or quotas.
func BenchmarkDefaultChain(b *testing.B) {
	f := newFixture(b)
	f.putNamespace(b, "default")
	for _, name := range []string{"system-cluster-critical", "system-node-critical"} {
		f.put(b, "scheduling.k8s.io", "v1", "priorityclasses", "", &scheduling.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	f.put(b, "", "v1", "serviceaccounts", "default", &api.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}})
	f.benchmark(b, "pod", f.chain(b, Config{}), pods, func() runtime.Object { return newPod() })
	f.benchmark(b, "configmap", f.chain(b, Config{}), schema.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		func() runtime.Object {
			return &api.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}}
		})
	f.benchmark(b, "namespace-check", f.chain(b, Config{Only: []string{"NamespaceLifecycle"}}), pods,
		func() runtime.Object { return newPod() })
	f.putLabelPolicy(b)
	f.benchmark(b, "policy", f.chain(b, Config{Only: []string{"ValidatingAdmissionPolicy"}}), pods,
		func() runtime.Object { return newPod() })
}

func (f *fixture) benchmark(b *testing.B, name string, chain *Chain, gvr schema.GroupVersionResource, object func() runtime.Object) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a, o := f.write(gvr, "default", object(), nil, admission.Create)
			if err := chain.Admit(b.Context(), a, o); err != nil {
				b.Fatal(err)
			}
			if err := chain.Validate(b.Context(), a, o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

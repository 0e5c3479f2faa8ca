package admission

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// called writes down the calls of plugins.
type called struct{ calls []string }

// told is a plugin that only looks.
type told struct {
	*admission.Handler
	name string
	to   *called
	err  error
}

func (p *told) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p.to.calls = append(p.to.calls, p.name+" sees "+a.GetObject().(*api.Pod).Labels["app"])
	return p.err
}

// changer is one that changes objects, and may ask for another round.
type changer struct {
	told
	again bool
}

func (p *changer) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p.to.calls = append(p.to.calls, p.name)
	a.GetObject().(*api.Pod).Labels["app"] += p.name
	if p.again && !a.GetReinvocationContext().IsReinvoke() {
		a.GetReinvocationContext().SetShouldReinvoke()
	}
	return p.err
}

// All that change an object are called before all that look at it; a second time if one asks for it; and the first refusal is the
// last call.
func TestChainOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	refusal := errors.New("no")
	tests := []struct {
		name      string
		again     bool
		changeErr error
		lookErr   error
		scope     scope
		want      []string
	}{
		{name: "plain", want: []string{"1", "2", "1 sees a12", "2 sees a12", "3 sees a12"}},
		{name: "again", again: true, want: []string{"1", "2", "1", "2", "1 sees a1212", "2 sees a1212", "3 sees a1212"}},
		{name: "refused", changeErr: refusal, want: []string{"1"}},
		{name: "refused by who looks", lookErr: refusal, want: []string{"1", "2", "1 sees a12"}},
		{name: "out of scope", scope: core("nodes"), want: []string{"2", "2 sees a2", "3 sees a2"}},
	}
	for _, test := range tests {
		chain := f.chain(t, Config{Only: []string{"NamespaceLifecycle"}})
		chain.plugins = nil
		to := &called{}
		all := admission.NewHandler(admission.Create, admission.Update, admission.Delete, admission.Connect)
		chain.add(known{name: "first", scope: test.scope}, &changer{told: told{all, "1", to, test.changeErr}})
		chain.add(known{name: "second"}, &changer{told: told{all, "2", to, nil}, again: test.again})
		chain.add(known{name: "third"}, &told{all, "3", to, nil})
		chain.add(known{name: "deletions"}, &told{admission.NewHandler(admission.Delete), "4", to, nil})
		if test.lookErr != nil {
			chain.plugins[0].validator = &told{all, "1", to, test.lookErr}
		}
		a, o := f.write(pods, "default", newPod(), nil, admission.Create)
		err := chain.Admit(t.Context(), a, o)
		if err == nil {
			err = chain.Validate(t.Context(), a, o)
		}
		if wanted := test.changeErr != nil || test.lookErr != nil; errors.Is(err, refusal) != wanted {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, to.calls); diff != "" {
			t.Errorf("%s: the calls (- wanted, + made)\n%s", test.name, diff)
		}
		wantSeries := 2 // of the plugins that have changed objects, unless one was out of scope or not reached
		if test.changeErr != nil || test.scope != nil {
			wantSeries = 1
		}
		if got := series(t, chain, "apiserver_admission_controller_admission_duration_seconds", "admit"); len(got) != wantSeries {
			t.Errorf("%s: the series are %v", test.name, got)
		}
	}
}

// series returns the names of the plugins that have a series of a step.
func series(t *testing.T, chain *Chain, metric, step string) []string {
	t.Helper()
	var names []string
	for _, family := range gather(t, chain) {
		if family.GetName() != metric {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["type"] == step {
				names = append(names, labels["name"])
			}
		}
	}
	slices.Sort(names)
	return names
}

func gather(t *testing.T, chain *Chain) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(chain.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// A plugin is asked about what its scope has, in every version and subresource.
func TestScopeHas(t *testing.T) {
	t.Parallel()
	s := core("pods").and("example.com", "widgets")
	for _, test := range []struct {
		gvr  schema.GroupVersionResource
		want bool
	}{
		{pods, true},
		{schema.GroupVersionResource{Group: "example.com", Version: "v7", Resource: "widgets"}, true},
		{schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "pods"}, false},
		{schema.GroupVersionResource{Version: "v1", Resource: "widgets"}, false},
	} {
		a := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, "", "", test.gvr, "status", admission.Update, nil, false, nil)
		if s.has(a.GetResource().GroupResource()) != test.want {
			t.Errorf("%v: %v", test.gvr, !test.want)
		}
	}
}

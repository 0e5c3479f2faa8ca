package admission

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubeapiserver/options"
)

func TestPluginsAreUpstreams(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(options.AllOrderedPlugins, Names()); diff != "" {
		t.Errorf("the order (- upstream, + kayak)\n%s", diff)
	}
	on := sets.New(options.AllOrderedPlugins...).Difference(options.DefaultOffAdmissionPlugins())
	if diff := cmp.Diff(sets.List(on), sets.List(sets.New(Defaults()...))); diff != "" {
		t.Errorf("the defaults (- upstream, + kayak)\n%s", diff)
	}
}

// What is wrong with a configuration is said as kube-apiserver says it.
func TestCheckIsUpstreams(t *testing.T) {
	t.Parallel()
	for _, config := range []Config{
		{},
		{Enable: []string{"AlwaysPullImages"}, Disable: []string{"ServiceAccount"}},
		{Enable: []string{"Nope", "AlwaysPullImages"}},
		{Disable: []string{"nodeRestriction"}},
		{Enable: []string{"ServiceAccount", "AlwaysDeny"}, Disable: []string{"ServiceAccount", "AlwaysDeny"}},
		{Only: []string{"Nope"}},
		{Only: []string{"LimitRanger"}},
		{Only: []string{"LimitRanger"}, Enable: []string{"ServiceAccount"}},
	} {
		upstream := options.NewAdmissionOptions()
		upstream.PluginNames = config.Only
		upstream.GenericAdmission.EnablePlugins, upstream.GenericAdmission.DisablePlugins = config.Enable, config.Disable
		var want []string
		for _, err := range upstream.Validate() {
			want = append(want, err.Error())
		}
		got := ""
		if err := config.Check(); err != nil {
			got = strings.Trim(err.Error(), "[]")
		}
		if got != strings.Trim(strings.Join(want, ", "), "[]") {
			t.Errorf("%+v: got %q, want %q", config, got, want)
		}
	}
}

func TestEnabled(t *testing.T) {
	t.Parallel()
	config := Config{Enable: []string{"AlwaysPullImages"}, Disable: []string{"ServiceAccount"}}
	got := config.Enabled()
	if diff := cmp.Diff(append([]string{"AlwaysPullImages"}, Defaults()...), append(got, "ServiceAccount"), cmp.Transformer("set",
		func(names []string) []string { return sets.List(sets.New(names...)) })); diff != "" {
		t.Error(diff)
	}
	config = Config{Only: []string{"ResourceQuota", "LimitRanger"}}
	if diff := cmp.Diff([]string{"LimitRanger", "ResourceQuota"}, config.Enabled()); diff != "" {
		t.Error(diff)
	}
}

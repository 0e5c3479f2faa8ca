package discovery

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Upstream keeps the documents of a kube-apiserver that has everything switched on, in api/discovery of k8s.io/kubernetes.
// What the table has of it must be the same in every field and in the same order.

type object = map[string]any

// modules finds k8s.io/kubernetes.
var modules = sync.OnceValues(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output)

func golden(t *testing.T, name string) object {
	t.Helper()
	dir, err := modules()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "api", "discovery", name))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, content)
}

func parse(t *testing.T, content []byte) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(content, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// keep leaves of a list in an object what has one of the wanted names, and fails when one is not there.
func keep(t *testing.T, o object, list string, name func(object) string, wanted []string) []object {
	t.Helper()
	var kept []object
	var items []any
	all, _ := o[list].([]any)
	for _, item := range all {
		if slices.Contains(wanted, name(item.(object))) {
			kept = append(kept, item.(object))
			items = append(items, item)
		}
	}
	if len(kept) != len(wanted) {
		t.Errorf("upstream has %d of the %s %v", len(kept), list, wanted)
	}
	if o[list] = items; items == nil {
		delete(o, list)
	}
	return kept
}

func field(name string) func(object) string {
	return func(o object) string { s, _ := o[name].(string); return s }
}

func same(t *testing.T, path string, want, got object) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-upstream +kayak):\n%s", path, diff)
	}
}

func TestResourcesAsGolden(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	h := New(table, Options{})
	for _, g := range table.Groups() {
		for _, v := range table.GroupVersions(g) {
			path, name := "/apis/"+g+"/"+v, "apis__"+g+"__"+v+".json"
			if g == "" {
				path, name = "/api/"+v, "api__"+v+".json"
			}
			var names []string
			for _, r := range table.Version(g, v) {
				names = append(names, r.Kind.Resource)
				for _, s := range r.Subresources {
					names = append(names, r.Kind.Resource+"/"+s.Name)
				}
			}
			want := golden(t, name)
			keep(t, want, "resources", field("name"), names)
			same(t, path, want, parse(t, get(t, h, path).Body.Bytes()))
		}
	}
}

func TestGroupsAsGolden(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	h := New(table, Options{ServerAddress: "10.10.10.10:8050"})
	same(t, "/api", golden(t, "api.json"), parse(t, get(t, h, "/api").Body.Bytes()))

	groups := slices.DeleteFunc(slices.Clone(table.Groups()), func(g string) bool { return g == "" })
	want := golden(t, "apis.json")
	for _, g := range keep(t, want, "groups", field("name"), groups) {
		keep(t, g, "versions", field("version"), table.GroupVersions(g["name"].(string)))
	}
	same(t, "/apis", want, parse(t, get(t, h, "/apis").Body.Bytes()))
	for _, g := range groups {
		want := golden(t, "apis__"+g+".json")
		keep(t, want, "versions", field("version"), table.GroupVersions(g))
		same(t, "/apis/"+g, want, parse(t, get(t, h, "/apis/"+g).Body.Bytes()))
	}
}

func TestAggregatedAsGolden(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	h := New(table, Options{})
	want := golden(t, "aggregated_v2.json") // that of /apis; for /api there is none
	groups := slices.DeleteFunc(slices.Clone(table.Groups()), func(g string) bool { return g == "" })
	for _, g := range keep(t, want, "items", groupName, groups) {
		group := groupName(g)
		for _, v := range keep(t, g, "versions", field("version"), table.GroupVersions(group)) {
			served := table.Version(group, v["version"].(string))
			var names []string
			for _, r := range served {
				names = append(names, r.Kind.Resource)
			}
			for _, r := range keep(t, v, "resources", field("resource"), names) {
				var subs []string
				for name := range served[slices.Index(names, r["resource"].(string))].Subresources {
					subs = append(subs, name)
				}
				keep(t, r, "subresources", field("subresource"), subs)
			}
		}
	}
	same(t, "/apis", want, parse(t, get(t, h, "/apis", "Accept", aggregatedType).Body.Bytes()))
}

func groupName(g object) string { return field("name")(g["metadata"].(object)) }

// Upstream's conversion of a version's resources into their aggregated form is the oracle, for all of upstream's resources.
func TestConversionAsUpstream(t *testing.T) {
	t.Parallel()
	versions := []string{"api__v1.json"}
	for _, g := range golden(t, "apis.json")["groups"].([]any) {
		for _, v := range g.(object)["versions"].([]any) {
			versions = append(versions, "apis__"+strings.ReplaceAll(v.(object)["groupVersion"].(string), "/", "__")+".json")
		}
	}
	for _, name := range versions {
		content, err := json.Marshal(golden(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var list metav1.APIResourceList
		if err := json.Unmarshal(content, &list); err != nil {
			t.Fatal(err)
		}
		want, err := endpoints.ConvertGroupVersionIntoToDiscovery(list.APIResources)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, discoveryResources(list.APIResources)); diff != "" {
			t.Errorf("%s (-upstream +kayak):\n%s", name, diff)
		}
	}
}

// All of upstream's groups and versions, whichever of them the table has by now, come in upstream's order.
func TestOrderAsGolden(t *testing.T) {
	t.Parallel()
	want := golden(t, "apis.json")
	var kinds []*kind.Kind
	for _, g := range want["groups"].([]any) {
		group := g.(object)["name"].(string)
		var versions []string
		for _, v := range g.(object)["versions"].([]any) {
			versions = append(versions, v.(object)["version"].(string))
		}
		slices.Reverse(versions)
		kinds = append(kinds, &kind.Kind{
			Group: group, Resource: "things", Name: "Thing", Versions: versions,
			Storage: schema.GroupVersion{Group: group, Version: versions[0]},
			Codec:   &kind.Codec{Creater: runtime.NewScheme()},
		})
	}
	if len(kinds) < 20 {
		t.Fatalf("upstream has only %d groups", len(kinds))
	}
	slices.Reverse(kinds)
	h := New(kind.NewTable(kinds...), Options{})
	same(t, "/apis", want, parse(t, get(t, h, "/apis").Body.Bytes()))
	aggregated := parse(t, get(t, h, "/apis", "Accept", aggregatedType).Body.Bytes())["items"].([]any)
	for i, g := range want["groups"].([]any) {
		if got := aggregated[i].(object)["metadata"].(object)["name"]; got != g.(object)["name"] {
			t.Errorf("aggregated group %d is %v, upstream's is %v", i, got, g.(object)["name"])
		}
	}
}

package builtin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// upstreamStorage says how kube-apiserver stores kinds.
type upstreamStorage struct {
	factory *serverstorage.DefaultStorageFactory
}

// newUpstreamStorage makes upstream's storage factory. The package that holds its configuration needs more modules than there
// are here, so that is read out of its source.
func newUpstreamStorage(t *testing.T, table *kind.Table) upstreamStorage {
	t.Helper()
	source := upstreamFile(t, "pkg", "kubeapiserver", "default_storage_factory_builder.go")
	encoding := serverstorage.NewDefaultResourceEncodingConfigForEffectiveVersion(legacyscheme.Scheme,
		compatibility.DefaultBuildEffectiveVersion())
	for _, match := range findAll(t, source, `\t\t\w+\.Resource\("(\w+)"\)\.WithVersion\("(\w+)"\),`) {
		gv := groupOf(t, table, match[1])
		gv.Version = match[2]
		internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
		encoding.SetResourceEncoding(schema.GroupResource{Group: gv.Group, Resource: match[1]}, gv, internal)
	}
	prefixes := map[schema.GroupResource]string{}
	for _, match := range findAll(t, source, `{Group: "(.*)", Resource: "(\w+)"}: +"(.+)"`) {
		prefixes[schema.GroupResource{Group: match[1], Resource: match[2]}] = match[3]
	}
	served := serverstorage.NewResourceConfig()
	for _, k := range table.Kinds() {
		for _, v := range k.Versions {
			served.EnableVersions(schema.GroupVersion{Group: k.Group, Version: v})
		}
	}
	factory := serverstorage.NewDefaultStorageFactory(*storagebackend.NewDefaultConfig("/registry", nil),
		runtime.ContentTypeProtobuf, legacyscheme.Codecs, encoding, served, prefixes)
	factory.AddCohabitatingResources(schema.GroupResource{Resource: "events"},
		schema.GroupResource{Group: "events.k8s.io", Resource: "events"})
	return upstreamStorage{factory}
}

func findAll(t *testing.T, source, pattern string) [][]string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1)
	if len(found) == 0 {
		t.Fatalf("upstream's source has no %s", pattern)
	}
	return found
}

// groupOf finds the group of a resource whose name is only there once.
func groupOf(t *testing.T, table *kind.Table, resource string) schema.GroupVersion {
	t.Helper()
	for _, k := range table.Kinds() {
		if k.Resource == resource {
			return schema.GroupVersion{Group: k.Group}
		}
	}
	t.Fatalf("there is no %s", resource)
	return schema.GroupVersion{}
}

// own says that a kind has a storage of its own in upstream, apart from the storage factory.
func own(k *kind.Kind) bool {
	return k.Group == "apiextensions.k8s.io" || k.Group == "apiregistration.k8s.io"
}

func (u upstreamStorage) codec(t *testing.T, k *kind.Kind) runtime.Encoder {
	t.Helper()
	if own(k) {
		return k.Codec.Serializer.(serializer.CodecFactory).LegacyCodec(k.Storage)
	}
	config, err := u.factory.NewConfig(k.GroupResource(), k.New())
	if err != nil {
		t.Fatal(err)
	}
	return config.Codec
}

// Where and in which version a kind is stored must be what upstream's storage factory says.
func TestStorageAsUpstream(t *testing.T) {
	table := table(t)
	t.Parallel()
	upstream := newUpstreamStorage(t, table)
	for _, k := range table.Kinds() {
		if !k.Stored() || own(k) {
			continue
		}
		config, err := upstream.factory.NewConfig(k.GroupResource(), k.New())
		if err != nil {
			t.Fatal(err)
		}
		gvks, _, err := k.Codec.Typer.ObjectKinds(k.New())
		if err != nil {
			t.Fatal(err)
		}
		want, ok := config.EncodeVersioner.KindForGroupVersionKinds(gvks)
		if got := k.Storage.WithKind(k.Name); !ok || got != want {
			t.Errorf("%s is stored as %v, upstream stores %v", k.GroupResource(), got, want)
		}
		if want := upstream.factory.ResourcePrefix(k.GroupResource()); k.Prefix != want {
			t.Errorf("%s has the prefix %q, upstream's is %q", k.GroupResource(), k.Prefix, want)
		}
	}
}

// What a kube-apiserver has written must be what is written again. The files are from the etcd of one.
func TestRecordedAgain(t *testing.T) {
	table := table(t)
	t.Parallel()
	for file, r := range map[string]*kind.Resource{
		"crd.json":        table.Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
		"apiservice.json": table.Resource("apiregistration.k8s.io", "v1", "apiservices"),
	} {
		recorded, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		obj, err := r.Decode(recorded, 1)
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(recorded), string(again)); diff != "" {
			t.Errorf("%s (-recorded +again):\n%s", file, diff)
		}
	}
}

// modules finds k8s.io/kubernetes.
var modules = sync.OnceValues(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output)

func upstreamDir(t *testing.T) string {
	t.Helper()
	dir, err := modules()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(dir))
}

func upstreamFile(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{upstreamDir(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// golden reads the resources of a kube-apiserver with everything switched on: api/discovery of k8s.io/kubernetes has all its
// documents. They are indexed by group, version and resource, and their names include subresources.
func golden(t *testing.T) map[schema.GroupVersionResource]metav1.APIResource {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(upstreamDir(t), "api", "discovery", "api*__v*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no discovery documents: %v", err)
	}
	resources := map[schema.GroupVersionResource]metav1.APIResource{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var list metav1.APIResourceList
		if err := json.Unmarshal(content, &list); err != nil {
			t.Fatal(err)
		}
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if r.Version == gv.Version && r.Group == gv.Group {
				r.Group, r.Version = "", ""
			}
			resources[gv.WithResource(r.Name)] = r
		}
	}
	return resources
}

// described is the same of a table.
func described(table *kind.Table) map[schema.GroupVersionResource]metav1.APIResource {
	resources := map[schema.GroupVersionResource]metav1.APIResource{}
	for _, k := range table.Kinds() {
		for _, v := range k.Versions {
			r := table.Resource(k.Group, v, k.Resource)
			resources[r.GVR()] = metav1.APIResource{
				Name: k.Resource, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Name,
				ShortNames: k.ShortNames, Categories: k.Categories, Verbs: k.Verbs, StorageVersionHash: storageHash(k),
			}
			for _, s := range k.Subresources {
				name := k.Resource + "/" + s.Name
				resources[r.Version.WithResource(name)] = describedSubresource(r, s, name)
			}
		}
	}
	return resources
}

func describedSubresource(r *kind.Resource, s *kind.Subresource, name string) metav1.APIResource {
	resource := metav1.APIResource{Name: name, Namespaced: r.Namespaced, Kind: r.Name, Verbs: s.Verbs}
	if s.Face != nil {
		resource.Kind = s.Face.Name
		if s.Face.Version != r.Version {
			resource.Group, resource.Version = s.Face.Version.Group, s.Face.Version.Version
		}
	}
	return resource
}

func storageHash(k *kind.Kind) string {
	if !k.Stored() {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%s", k.Storage.Group, k.Storage.Version, k.Name))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func TestEveryKindIsThere(t *testing.T) {
	table := table(t)
	t.Parallel()
	if diff := cmp.Diff(golden(t), described(table)); diff != "" {
		t.Errorf("-upstream +kayak:\n%s", diff)
	}
}

// Without being asked for, a few kinds are not there although their versions may be: a kube-apiserver with nothing but
// --runtime-config=api/all=true does not have them.
func TestKindsOfDefaultGates(t *testing.T) {
	t.Parallel()
	kinds, err := Kinds(Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := described(kind.NewTable(kinds...))
	want := golden(t)
	for gvr := range want {
		resource, _, _ := strings.Cut(gvr.Resource, "/")
		if slices.Contains([]string{"workloads", "podgroups", "compositepodgroups", "evictions", "evictionrequests"}, resource) {
			delete(want, gvr)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-upstream +kayak:\n%s", diff)
	}
}

package custom_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
)

// TestEstablishedServesAtOnce on another server over the same store, to whom nothing but the store has told of it.
func TestEstablishedServesAtOnce(t *testing.T) {
	t.Parallel()
	dir := must(os.MkdirTemp("", "etcd"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	store := must(embedded.Open(t.Context(), embedded.Options{Dir: dir}))(t)
	t.Cleanup(func() { store.Close() })
	config := kayak.Config{Etcd: kayak.EtcdConfig{Servers: []string{"unix://" + filepath.Join(dir, "etcd.sock")}}}
	a, b := start(t, config), start(t, config)
	for _, plural := range []string{"as", "bs", "cs", "ds", "es", "fs", "gs", "hs"} {
		kind := strings.ToUpper(plural[:1])
		a.define(t, simpleDefinition("example.com", plural, kind, "Cluster"))
		u := object(t, "apiVersion: example.com/v1\nkind: %s\nmetadata: {name: a}", kind)
		must(b.dynamic.Resource(schemaOf(plural)).Create(t.Context(), u, metav1.CreateOptions{}))(t)
	}
}

// TestNamesInConflict: the second definition waits until the first one goes.
func TestNamesInConflict(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, simpleDefinition("example.com", "foos", "Foo", "Cluster"))
	second := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal([]byte(simpleDefinition("example.com", "others", "Foo", "Cluster")), second); err != nil {
		t.Fatal(err)
	}
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	second = must(definitions.Create(ctx, second, metav1.CreateOptions{}))(t)
	if conditionTrue(second, apiextensionsv1.NamesAccepted) || conditionTrue(second, apiextensionsv1.Established) {
		t.Fatalf("%+v", second.Status)
	}
	w := must(definitions.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=others.example.com", ResourceVersion: second.ResourceVersion}))(t)
	defer w.Stop()
	if err := definitions.Delete(ctx, "foos.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range w.ResultChan() {
		if crd := e.Object.(*apiextensionsv1.CustomResourceDefinition); conditionTrue(crd, apiextensionsv1.Established) {
			break
		}
	}
	must(c.dynamic.Resource(schemaOf("others")).Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}"), metav1.CreateOptions{}))(t)
}

// TestSchemaChangesInFlight: what is answered after a change of the schema follows the new one, and watches begin anew.
func TestSchemaChangesInFlight(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	must(r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {}"), metav1.CreateOptions{}))(t)
	w := must(r.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	must(r.Get(ctx, "a", metav1.GetOptions{}))(t)
	patch := `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape","value":{"type":"string","default":"round"}}]`
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	must(definitions.Patch(ctx, "widgets.example.com", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}))(t)
	got := must(r.Get(ctx, "a", metav1.GetOptions{}))(t)
	if shape, _, _ := unstructured.NestedString(got.Object, "spec", "shape"); shape != "round" {
		t.Errorf("the new default is not there: %v", got)
	}
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			t.Errorf("the watch ended with %v", e.Object)
		}
	}
}

// TestDefinitionsAreThereAfterARestart, and their objects, with what they are selected by.
func TestDefinitionsAreThereAfterARestart(t *testing.T) {
	t.Parallel()
	dir := must(os.MkdirTemp("", "kayak"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	first := start(t, kayak.Config{DataDir: dir})
	first.define(t, widgets)
	r := first.dynamic.Resource(widgetResource).Namespace("default")
	must(r.Create(t.Context(), object(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, labels: {x: '1'}}\nspec: {color: blue}"), metav1.CreateOptions{}))(t)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := start(t, kayak.Config{DataDir: dir})
	r = second.dynamic.Resource(widgetResource).Namespace("default")
	for _, options := range []metav1.ListOptions{{LabelSelector: "x=1"}, {FieldSelector: "spec.color=blue"}} {
		if list := must(r.List(t.Context(), options))(t); len(list.Items) != 1 {
			t.Errorf("%+v selects %d", options, len(list.Items))
		}
	}
}

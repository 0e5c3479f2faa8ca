package custom_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
)

const widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s}\nspec: {color: %s}"

// TestWatchList streams what there is, in the order of keys, and says where that ends.
func TestWatchList(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	for name, color := range map[string]string{"a": "red", "b": "blue", "c": "red"} {
		must(r.Create(ctx, object(t, widget, name, color), metav1.CreateOptions{}))(t)
	}
	w := must(r.Watch(ctx, metav1.ListOptions{
		SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		FieldSelector: "spec.color=red",
	}))(t)
	defer w.Stop()
	var got []string
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("%v", e)
		}
		if e.Type == watch.Bookmark {
			if u.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" || u.GetKind() != "Widget" {
				t.Errorf("the bookmark is %v", u)
			}
			break
		}
		got = append(got, string(e.Type)+" "+u.GetName())
	}
	if strings.Join(got, ", ") != "ADDED a, ADDED c" {
		t.Errorf("the initial events are %v", got)
	}
	must(r.Patch(ctx, "b", types.MergePatchType, []byte(`{"spec":{"color":"red","replicas":1}}`), metav1.PatchOptions{}))(t)
	if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*unstructured.Unstructured).GetName() != "b" {
		t.Errorf("what comes to be selected: %v", e)
	}
}

// TestDryRun does everything but to write.
func TestDryRun(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	all := []string{metav1.DryRunAll}
	if u := must(r.Create(ctx, object(t, widget, "none", "red"), metav1.CreateOptions{DryRun: all}))(t); u.GetUID() == "" || u.GetResourceVersion() != "" {
		t.Errorf("create: %v", u)
	}
	must(r.Create(ctx, object(t, widget, "a", "red"), metav1.CreateOptions{}))(t)
	if _, err := r.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"yellow"}}`), metav1.PatchOptions{DryRun: all}); err == nil {
		t.Error("an invalid patch is accepted")
	}
	patched := must(r.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"blue","replicas":1}}`), metav1.PatchOptions{DryRun: all}))(t)
	if patched.GetGeneration() != 2 {
		t.Errorf("patch: %v", patched)
	}
	must(r.Apply(ctx, "other", object(t, widget, "other", "red"), metav1.ApplyOptions{FieldManager: "m", DryRun: all}))(t)
	if err := r.Delete(ctx, "a", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if err := r.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	list := must(r.List(ctx, metav1.ListOptions{}))(t)
	if len(list.Items) != 1 || list.Items[0].GetGeneration() != 1 {
		t.Errorf("something was written: %v", list)
	}
}

// TestLargeAnswersAreCompressed for clients that take it.
func TestLargeAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	c.define(t, simpleDefinition("example.com", "foos", "Foo", "Cluster"))
	u := object(t, "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}\nlong: %s", strings.Repeat("x", 300_000))
	must(c.dynamic.Resource(schemaOf("foos")).Create(t.Context(), u, metav1.CreateOptions{}))(t)
	transport := must(rest.TransportFor(c.config))(t)
	request := must(http.NewRequest(http.MethodGet, c.config.Host+"/apis/example.com/v1/foos", nil))(t)
	request.Header.Set("Accept-Encoding", "gzip")
	response := must(transport.RoundTrip(request))(t)
	defer response.Body.Close()
	if response.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("headers: %v", response.Header)
	}
	var list unstructured.UnstructuredList
	body := must(io.ReadAll(must(gzip.NewReader(response.Body))(t)))(t)
	if err := list.UnmarshalJSON(body); err != nil || len(list.Items) != 1 {
		t.Errorf("%d objects, %v", len(list.Items), err)
	}
}

func reasonOf(crd *apiextensionsv1.CustomResourceDefinition, typ apiextensionsv1.CustomResourceDefinitionConditionType) string {
	for _, c := range crd.Status.Conditions {
		if c.Type == typ {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// TestApprovalOfCommunityGroups is told in a condition.
func TestApprovalOfCommunityGroups(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	for annotation, want := range map[string]string{
		"https://github.com/kubernetes/kubernetes/pull/1": "True ApprovedAnnotation",
		"unapproved, experimental":                        "False UnapprovedAnnotation",
	} {
		plural := strings.ToLower(want[:1]) + "s"
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal([]byte(simpleDefinition("example.k8s.io", plural, strings.ToUpper(plural[:1]), "Cluster")), crd); err != nil {
			t.Fatal(err)
		}
		crd.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: annotation}
		crd = must(definitions.Create(t.Context(), crd, metav1.CreateOptions{}))(t)
		if got := reasonOf(crd, apiextensionsv1.KubernetesAPIApprovalPolicyConformant); got != want {
			t.Errorf("%s: %s", annotation, got)
		}
	}
}

// old is a definition as servers before v1.22 have stored some: in v1beta1, with a schema that is not structural, and objects from which
// nothing is pruned.
const old = `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"olds.example.com","uid":"3e3b1e7c-0000-4000-8000-000000000001","generation":1,"creationTimestamp":"2020-01-01T00:00:00Z"},"spec":{"group":"example.com","version":"v1","names":{"plural":"olds","singular":"old","kind":"Old","listKind":"OldList"},"scope":"Cluster","validation":{"openAPIV3Schema":{"properties":{"a":{"minLength":2}}}},"versions":[{"name":"v1","served":true,"storage":true}],"conversion":{"strategy":"None"},"preserveUnknownFields":true},"status":{"conditions":[{"type":"NonStructuralSchema","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z","reason":"Violations","message":"old"},{"type":"NamesAccepted","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z","reason":"NoConflicts","message":"no conflicts found"},{"type":"Established","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z","reason":"InitialNamesAccepted","message":"the initial names have been accepted"}],"acceptedNames":{"plural":"olds","singular":"old","kind":"Old","listKind":"OldList"},"storedVersions":["v1"]}}`

// TestOldDefinitions: what is stored goes on as it was, until somebody gives it a structural schema.
func TestOldDefinitions(t *testing.T) {
	t.Parallel()
	dir := must(os.MkdirTemp("", "etcd"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	etcd := must(embedded.Open(t.Context(), embedded.Options{Dir: dir}))(t)
	t.Cleanup(func() { etcd.Close() })
	must(etcd.Put(t.Context(), "/registry/apiextensions.k8s.io/customresourcedefinitions/olds.example.com", []byte(old), 0, store.PutOptions{}))(t)
	c := start(t, kayak.Config{Etcd: kayak.EtcdConfig{Servers: []string{"unix://" + dir + "/etcd.sock"}}})
	ctx := t.Context()
	r := c.dynamic.Resource(schemaOf("olds"))
	u := must(r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Old\nmetadata: {name: a}\na: xx\nunknown: {b: 1}"), metav1.CreateOptions{}))(t)
	if _, found, _ := unstructured.NestedFieldNoCopy(u.Object, "unknown", "b"); !found {
		t.Errorf("it is pruned: %v", u)
	}
	if _, err := r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Old\nmetadata: {name: b}\na: x"), metav1.CreateOptions{}); err == nil {
		t.Error("it is not validated")
	}
	crd, err := c.changeDefinition(t, "olds.example.com", func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.PreserveUnknownFields = false
		schema := &apiextensionsv1.JSONSchemaProps{}
		if err := json.Unmarshal([]byte(`{"type":"object","properties":{"a":{"type":"string"}}}`), schema); err != nil {
			t.Fatal(err)
		}
		crd.Spec.Versions[0].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := reasonOf(crd, apiextensionsv1.NonStructuralSchema); got != "" {
		t.Errorf("the condition is still there: %s", got)
	}
	u = must(r.Get(ctx, "a", metav1.GetOptions{}))(t)
	if _, found := u.Object["unknown"]; found || u.Object["a"] != "xx" {
		t.Errorf("it is not pruned: %v", u)
	}
}

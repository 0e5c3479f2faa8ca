package custom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

// cluster is a server with clients for it.
type cluster struct {
	*kayak.Server
	config      *rest.Config
	dynamic     dynamic.Interface
	definitions apiextensions.Interface
	discovery   discovery.DiscoveryInterface
}

// start runs a server until the test ends.
func start(t testing.TB, config kayak.Config) *cluster {
	t.Helper()
	config.Logger = slog.New(slog.DiscardHandler)
	server, err := kayak.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return clients(t, server)
}

func clients(t testing.TB, server *kayak.Server) *cluster {
	t.Helper()
	c := &cluster{Server: server, config: server.RESTConfig()}
	c.config.QPS = -1
	c.config.WarningHandler = rest.NoWarnings{}
	c.dynamic = must(dynamic.NewForConfig(c.config))(t)
	c.definitions = must(apiextensions.NewForConfig(c.config))(t)
	c.discovery = must(discovery.NewDiscoveryClientForConfig(c.config))(t)
	return c
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// define creates a definition and checks that it is established.
func (c *cluster) define(t testing.TB, text string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(text), crd); err != nil {
		t.Fatal(err)
	}
	created, err := c.definitions.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !conditionTrue(created, apiextensionsv1.Established) || !conditionTrue(created, apiextensionsv1.NamesAccepted) {
		t.Fatalf("conditions are %+v", created.Status.Conditions)
	}
	return created
}

func conditionTrue(crd *apiextensionsv1.CustomResourceDefinition, typ apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == typ {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// object reads an object from YAML.
func object(t testing.TB, text string, args ...any) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, text, args...), &u.Object); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            properties:
              color: {type: string, enum: [red, green, blue], default: red}
              replicas: {type: integer, minimum: 0}
              port: {x-kubernetes-int-or-string: true}
              parts:
                type: array
                maxItems: 20
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, maxLength: 20}
                    size: {type: integer}
            x-kubernetes-validations:
            - {rule: "!has(oldSelf.color) || self.color == oldSelf.color || self.replicas > 0", message: color needs replicas}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
`

var widgetResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

// TestLifeOfACustomResource goes through all verbs.
func TestLifeOfACustomResource(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	if _, err := c.dynamic.Resource(widgetResource).Namespace("default").List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("before there is a definition: %v", err)
	}
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	w := must(r.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()

	created, err := r.Create(ctx, object(t, `
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, labels: {x: "1"}}
spec: {replicas: 2, unknown: true, port: http, parts: [{name: one, size: 1}]}
status: {replicas: 7}`), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := unstructured.NestedString(created.Object, "spec", "color"); got != "red" {
		t.Errorf("default: %v", created.Object)
	}
	if _, found, _ := unstructured.NestedFieldNoCopy(created.Object, "spec", "unknown"); found {
		t.Error("an unknown field was not pruned")
	}
	if _, found := created.Object["status"]; found {
		t.Error("create set the status")
	}
	if created.GetGeneration() != 1 || created.GetUID() == "" || len(created.GetManagedFields()) != 1 {
		t.Errorf("metadata: %v", created.Object["metadata"])
	}

	updated := created.DeepCopy()
	_ = unstructured.SetNestedField(updated.Object, "green", "spec", "color")
	if updated, err = r.Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if updated.GetGeneration() != 2 {
		t.Errorf("generation %d", updated.GetGeneration())
	}
	if _, err := r.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v", err)
	}
	if _, err := r.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"yellow"}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("invalid: %v", err)
	}
	if _, err := r.Patch(ctx, "a", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); apierrors.ReasonForError(err) != metav1.StatusReasonUnsupportedMediaType {
		t.Errorf("strategic merge patch: %v", err)
	}
	_, err = r.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"blue","replicas":0}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("transition rule: %v", err)
	}
	status, err := r.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":9},"status":{"replicas":1,"selector":"a=b"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(status.Object, "spec", "replicas"); n != 2 || status.GetGeneration() != 2 {
		t.Errorf("the status's patch changed the spec: %v", status.Object)
	}
	scale := must(r.Get(ctx, "a", metav1.GetOptions{}, "scale"))(t)
	if n, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); n != 2 || scale.GetKind() != "Scale" {
		t.Errorf("scale: %v", scale.Object)
	}
	_ = unstructured.SetNestedField(scale.Object, int64(5), "spec", "replicas")
	if _, err = r.Update(ctx, scale, metav1.UpdateOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	if got := must(r.Get(ctx, "a", metav1.GetOptions{}))(t); must2(unstructured.NestedInt64(got.Object, "spec", "replicas")) != 5 {
		t.Errorf("after scaling: %v", got.Object)
	}

	applied, err := r.Apply(ctx, "a", object(t, `
apiVersion: example.com/v1
kind: Widget
metadata: {name: a}
spec: {parts: [{name: two, size: 2}]}`), metav1.ApplyOptions{FieldManager: "applier"})
	if err != nil {
		t.Fatal(err)
	}
	if parts, _, _ := unstructured.NestedSlice(applied.Object, "spec", "parts"); len(parts) != 2 {
		t.Errorf("apply did not merge by key: %v", parts)
	}

	for selector, want := range map[string]int{"spec.color=green": 1, "spec.color=red": 0} {
		list := must(r.List(ctx, metav1.ListOptions{FieldSelector: selector}))(t)
		if len(list.Items) != want {
			t.Errorf("%s selects %d", selector, len(list.Items))
		}
	}
	if _, err := r.List(ctx, metav1.ListOptions{FieldSelector: "spec.replicas=5"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that cannot be selected by: %v", err)
	}
	if list := must(r.List(ctx, metav1.ListOptions{LabelSelector: "x=1"}))(t); len(list.Items) != 1 || list.GetKind() != "WidgetList" {
		t.Errorf("list: %v", list)
	}
	if err := r.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []watch.EventType
	for e := range w.ResultChan() {
		got = append(got, e.Type)
		if e.Type == watch.Deleted {
			break
		}
	}
	if len(got) != 6 || got[0] != watch.Added {
		t.Errorf("events: %v", got)
	}
}

func must2[T any](v T, _ bool, _ error) T { return v }

// TestDiscoveryShowsAnEstablishedResource in both forms, at once.
func TestDiscoveryShowsAnEstablishedResource(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	c.define(t, widgets)
	list := must(c.discovery.ServerResourcesForGroupVersion("example.com/v1"))(t)
	if len(list.APIResources) != 3 || list.APIResources[0].Kind != "Widget" || list.APIResources[0].ShortNames[0] != "wd" {
		t.Errorf("%+v", list)
	}
	_, resources, err := c.discovery.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, list := range resources {
		found = found || list.GroupVersion == "example.com/v1"
	}
	if !found {
		t.Error("aggregated discovery does not have it")
	}
}

// TestDeletedDefinitionTakesItsObjectsAlong as soon as their finalizers let them go.
func TestDeletedDefinitionTakesItsObjectsAlong(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	const widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s, finalizers: [%s]}\nspec: {}"
	must(r.Create(ctx, object(t, widget, "free", ""), metav1.CreateOptions{}))(t)
	must(r.Create(ctx, object(t, widget, "held", "example.com/f"), metav1.CreateOptions{}))(t)
	w := must(r.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	gone := must(definitions.Watch(ctx, metav1.ListOptions{}))(t)
	defer gone.Stop()
	if err := definitions.Delete(ctx, "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range w.ResultChan() {
		if u := e.Object.(*unstructured.Unstructured); u.GetName() == "held" && u.GetDeletionTimestamp() != nil {
			break
		}
	}
	_, err := r.Create(ctx, object(t, widget, "late", ""), metav1.CreateOptions{})
	const want = `widgets.example.com "late" is forbidden: create not allowed while custom resource definition is terminating`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("create while it is being deleted: %v", err)
	}
	if _, err := r.Apply(ctx, "late", object(t, widget, "late", ""), metav1.ApplyOptions{FieldManager: "m"}); !apierrors.IsForbidden(err) {
		t.Errorf("apply of something new: %v", err)
	}
	list := must(c.discovery.ServerResourcesForGroupVersion("example.com/v1"))(t)
	if got := list.APIResources[0].Verbs.String(); got != "[delete deletecollection get list watch]" {
		t.Errorf("discovery shows %v", got)
	}
	if crd := must(definitions.Get(ctx, "widgets.example.com", metav1.GetOptions{}))(t); !conditionTrue(crd, apiextensionsv1.Terminating) ||
		!conditionTrue(crd, apiextensionsv1.Established) {
		t.Errorf("conditions: %+v", crd.Status.Conditions)
	}
	if _, err := r.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("what is there can still be changed: %v", err)
	}
	if _, err := r.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range gone.ResultChan() {
		if e.Type == watch.Deleted {
			break
		}
	}
	for e := range w.ResultChan() { // ends without an error
		if e.Type == watch.Error {
			t.Errorf("the watch ended with %v", e.Object)
		}
	}
	if _, err := r.List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("afterwards: %v", err)
	}
	c.define(t, widgets)
	if list := must(r.List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 0 {
		t.Errorf("defined again: %v", list.Items)
	}
}

package verb_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

const (
	mergePatch = "application/merge-patch+json"
	applyPatch = "application/apply-patch+yaml"
)

// owners reads who has set what, a line for each.
func (f *fixture) owners(t *testing.T, path string) []string {
	t.Helper()
	w := f.do(t, "GET", path, "", "")
	return owners(t, w)
}

func owners(t *testing.T, w *httptest.ResponseRecorder) []string {
	t.Helper()
	var obj metav1.PartialObjectMetadata
	if err := json.Unmarshal(w.Body.Bytes(), &obj); err != nil || w.Code >= 300 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var lines []string
	for _, e := range obj.ManagedFields {
		lines = append(lines, fmt.Sprintf("%s %s %s %q %s", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.FieldsV1.GetRawString()))
	}
	return lines
}

// What is expected here is what kube-apiserver v1.37 answers.
func TestFieldsThroughScale(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Fields = managedfields.New()
	f.Authorizer = allowAll{}
	const path = "/apis/apps/v1/namespaces/default/deployments/d"
	w := f.do(t, "PATCH", path+"?fieldManager=one", applyPatch, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},`+
		`"spec":{"replicas":3,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},`+
		`"spec":{"containers":[{"name":"c","image":"i"}]}}}}`)
	if w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	const rest = `one Apply apps/v1 "" {"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:a":{}}},` +
		`"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}`

	w = f.do(t, "PATCH", path+"/scale?fieldManager=scaler", mergePatch, `{"spec":{"replicas":4}}`)
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "managedFields") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := []string{rest, `scaler Update apps/v1 "scale" {"f:spec":{"f:replicas":{}}}`}
	if diff := cmp.Diff(want, f.owners(t, path)); diff != "" {
		t.Fatal(diff)
	}

	const scale = `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"},"spec":{"replicas":5}}`
	w = f.do(t, "PATCH", path+"/scale?fieldManager=two", applyPatch, scale)
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(),
		`Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using autoscaling/v1: .spec.replicas`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w = f.do(t, "PATCH", path+"/scale?fieldManager=two&force=true", applyPatch, scale); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := f.owners(t, path)
	if len(got) == 2 && got[0] == rest {
		got[0], got[1] = got[1], got[0] // they are sorted by time, in seconds
	}
	want = []string{`two Apply apps/v1 "scale" {"f:spec":{"f:replicas":{}}}`, rest}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// Without a tracker nothing is tracked, and nothing can be applied.
func TestWithoutTracker(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", path, `{"metadata":{"name":"a"},"data":{"x":"1"}}`)
	if got := f.owners(t, path+"/a"); got != nil {
		t.Error(got)
	}
	if w := f.do(t, "PATCH", path+"/a?fieldManager=one", applyPatch, `{}`); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What was stored before there were managed fields stays without, until somebody applies.
func TestObjectsWithoutFieldsStayWithout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", path, `{"metadata":{"name":"a"},"data":{"x":"1"}}`)
	f.Fields = managedfields.New()
	f.Authorizer = allowAll{}
	w := f.do(t, "PATCH", path+"/a?fieldManager=one", mergePatch, `{"data":{"y":"1"}}`)
	if got := owners(t, w); got != nil {
		t.Error(got)
	}
	w = f.do(t, "PATCH", path+"/a?fieldManager=two", applyPatch, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"z":"1"}}`)
	want := []string{
		`two Apply v1 "" {"f:data":{"f:z":{}}}`,
		`before-first-apply Update v1 "" {"f:data":{".":{},"f:x":{},"f:y":{}}}`,
	}
	if diff := cmp.Diff(want, owners(t, w)); diff != "" {
		t.Error(diff)
	}
}

// meddler is admission that makes managed fields invalid.
type meddler struct{ *admission.Handler }

func (meddler) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	obj := a.GetObject().(*api.ConfigMap)
	obj.ManagedFields[0].Operation = "Steal"
	return nil
}

type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

func TestAdmissionCannotBreakFields(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Fields = managedfields.New()
	f.Admission = meddler{admission.NewHandler(admission.Create)}
	configMaps := f.table.Resource("", "v1", "configmaps")
	var got warnings
	ctx := warning.WithWarningRecorder(verb.AsServer(t.Context()), &got)
	obj, err := f.CreateObject(ctx, configMaps, "default", &api.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Data: map[string]string{"x": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	entries := obj.(*api.ConfigMap).ManagedFields
	if len(entries) != 1 || entries[0].Operation != "Update" || entries[0].Manager != "kube-apiserver" {
		t.Errorf("%+v", entries)
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], ".metadata.managedFields was in an invalid state after admission; ") {
		t.Errorf("%q", got)
	}
}

// tight is a store for objects without managed fields: with them they are too large.
type tight struct{ store.Store }

func (s tight) Put(ctx context.Context, key string, value []byte, expect int64, options store.PutOptions) (int64, error) {
	if strings.Contains(string(value), "FieldsV1") {
		return 0, store.ErrTooLarge
	}
	return s.Store.Put(ctx, key, value, expect, options)
}

// An object that is too large with its managed fields is stored without them. That does not go for what is applied.
func TestFieldsGoIfTheyAreTooMuch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(s store.Store) store.Store { return tight{s} })
	f.Fields = managedfields.New()
	f.Authorizer = allowAll{}
	const path = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", path, `{"metadata":{"name":"a"},"data":{"x":"1"}}`)
	f.must(t, "PUT", path+"/a", `{"metadata":{"name":"a"},"data":{"x":"2"}}`)
	w := f.do(t, "PATCH", path+"/a", mergePatch, `{"data":{"y":"1"}}`)
	if got := owners(t, w); got != nil {
		t.Error(got)
	}
	w = f.do(t, "PATCH", path+"/b?fieldManager=one", applyPatch, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"},"data":{"z":"1"}}`)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

package kayak_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kayak-k8s/kayak"
)

// However many write an object at a time, each is judged by what it replaces.
func TestOldObjectUnderContention(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		const writers, rounds = 8, 10
		c := client(t, server.RESTConfig())
		var mu sync.Mutex
		before := map[string]string{} // the resourceVersion of the old object, by what the write says of itself
		w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			var old, m struct {
				Metadata metav1.ObjectMeta
				Data     map[string]string
			}
			_ = json.Unmarshal(r.OldObject.Raw, &old)
			_ = json.Unmarshal(r.Object.Raw, &m)
			mu.Lock()
			defer mu.Unlock()
			before[m.Data["writer"]] = old.Metadata.ResourceVersion // the last counts: the others lost a race
			return allow(r)
		})
		created, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("m"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		configureValidating(t, c, "old", w.validating("old.example.com", rule("", "v1", "configmaps")))
		type write struct {
			by      string
			version string
		}
		written := make(chan write, writers*rounds)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range rounds {
					by := fmt.Sprintf("%d-%d", i, j)
					m, err := c.CoreV1().ConfigMaps("default").Patch(t.Context(), "m", types.MergePatchType,
						[]byte(`{"data":{"writer":"`+by+`"}}`), metav1.PatchOptions{})
					if err != nil {
						t.Errorf("%s: %v", by, err)
						return
					}
					written <- write{by, m.ResourceVersion}
				}
			})
		}
		wg.Wait()
		close(written)
		all := []write{{"", created.ResourceVersion}}
		for one := range written {
			all = append(all, one)
		}
		number := func(w write) int {
			n, _ := strconv.Atoi(w.version)
			return n
		}
		slices.SortFunc(all, func(a, b write) int { return number(a) - number(b) })
		for i, one := range all[1:] {
			if before[one.by] != all[i].version {
				t.Errorf("%s, which made %s of %s, was judged by %s", one.by, one.version, all[i].version, before[one.by])
			}
		}
	})
}

// The old object of custom resources is exact too.
func TestOldObjectOfCustomResource(t *testing.T) {
	t.Parallel()
	config := start(t, kayak.Config{}).RESTConfig()
	create(t, config, definitions, "", widgetDefinition)
	w := startWebhook(t, allow)
	configureValidating(t, client(t, config), "old", w.validating("old.example.com", rule("example.com", "v1", "widgets", "widgets/*")))
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource := c.Resource(widgets).Namespace("default")
	create(t, config, widgets, "default", `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, finalizers: [example.com/keep]}, spec: {replicas: 1}}`)
	if last, _ := w.last(); last.Operation != admissionv1.Create || last.OldObject.Raw != nil {
		t.Errorf("creation: %s of %s", last.Operation, last.OldObject.Raw)
	}
	patch := func(kind types.PatchType, text string, subresources ...string) func() error {
		return func() error {
			options := metav1.PatchOptions{}
			if kind == types.ApplyPatchType {
				options.FieldManager = "m"
			}
			_, err := resource.Patch(t.Context(), "w", kind, []byte(text), options, subresources...)
			return err
		}
	}
	for _, step := range []struct {
		what, subresource string
		operation         admissionv1.Operation
		do                func() error
	}{
		{"a merge patch", "", admissionv1.Update, patch(types.MergePatchType, `{"spec":{"colour":"red"}}`)},
		{"a JSON patch", "", admissionv1.Update, patch(types.JSONPatchType, `[{"op":"add","path":"/spec/tags","value":["a"]}]`)},
		{"an apply", "", admissionv1.Update, patch(types.ApplyPatchType, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"labels":{"a":"b"}}}`)},
		{"a patch of the status", "status", admissionv1.Update, patch(types.MergePatchType, `{"status":{"replicas":1}}`, "status")},
		{"a patch of the scale", "scale", admissionv1.Update, patch(types.MergePatchType, `{"spec":{"replicas":2}}`, "scale")},
		{"a deletion that waits for a finalizer", "", admissionv1.Delete, func() error {
			return resource.Delete(t.Context(), "w", metav1.DeleteOptions{})
		}},
		{"the end of the finalizer", "", admissionv1.Update, patch(types.MergePatchType, `{"metadata":{"finalizers":null}}`)},
	} {
		stored, err := resource.Get(t.Context(), "w", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		last, _ := w.last()
		if last.Operation != step.operation || last.SubResource != step.subresource {
			t.Errorf("%s: asked about %s of %q", step.what, last.Operation, last.SubResource)
		}
		if step.subresource == "scale" {
			if text := `"spec":{"replicas":1}`; !strings.Contains(string(last.OldObject.Raw), text) {
				t.Errorf("%s: the old object is %s", step.what, last.OldObject.Raw)
			}
			continue
		}
		old := &unstructured.Unstructured{}
		if err := json.Unmarshal(last.OldObject.Raw, old); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if diff := cmp.Diff(stored.Object, old.Object); diff != "" {
			t.Errorf("%s: the old object (- stored, + seen)\n%s", step.what, diff)
		}
	}
}

// Every object of a collection is judged by itself, and an eviction as what it is.
func TestOldObjectOfOtherWrites(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	w := startWebhook(t, allow)
	for i := range 3 {
		if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(fmt.Sprint("m", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := c.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	configureValidating(t, c, "old", w.validating("old.example.com", rule("", "v1", "configmaps", "pods", "pods/*")))
	if err := c.CoreV1().ConfigMaps("default").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, asked := range w.asked {
		var old metav1.PartialObjectMetadata
		if err := json.Unmarshal(asked.OldObject.Raw, &old); err != nil || asked.Operation != admissionv1.Delete || asked.Object.Raw != nil {
			t.Errorf("%s of %s: %v", asked.Operation, asked.OldObject.Raw, err)
		}
		versions[old.Name] = old.ResourceVersion
	}
	for _, m := range stored.Items {
		if versions[m.Name] != m.ResourceVersion {
			t.Errorf("%s: asked about %q, stored was %s", m.Name, versions[m.Name], m.ResourceVersion)
		}
	}
	if err := pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}); err != nil {
		t.Fatal(err)
	}
	last, _ := w.last()
	if last.Operation != admissionv1.Create || last.SubResource != "eviction" || last.Kind.Kind != "Eviction" || last.OldObject.Raw != nil {
		t.Errorf("an eviction: %s of %q, %s, of %s", last.Operation, last.SubResource, last.Kind.Kind, last.OldObject.Raw)
	}
}

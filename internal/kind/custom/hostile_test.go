package custom_test

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak"
)

const simple = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %PLURAL%.%GROUP%}
spec:
  group: %GROUP%
  scope: %SCOPE%
  names: {plural: %PLURAL%, singular: %SINGULAR%, kind: %KIND%}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

func simpleDefinition(group, plural, kind, scope string) string {
	return strings.NewReplacer("%GROUP%", group, "%PLURAL%", plural, "%SINGULAR%", strings.ToLower(kind), "%KIND%", kind, "%SCOPE%", scope).Replace(simple)
}

// TestScopeMismatchIsNotFound: CVE-2019-11247 was a cluster-scoped object that could be had through a namespace, with the rights in
// that. Paths that are no plain names are refused likewise.
func TestScopeMismatchIsNotFound(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, simpleDefinition("example.com", "planets", "Planet", "Cluster"))
	c.define(t, simpleDefinition("example.com", "moons", "Moon", "Namespaced"))
	planets := c.dynamic.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "planets"})
	moons := c.dynamic.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "moons"})
	must(planets.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Planet\nmetadata: {name: a}"), metav1.CreateOptions{}))(t)
	must(moons.Namespace("default").Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Moon\nmetadata: {name: a}"), metav1.CreateOptions{}))(t)
	const root = "/apis/example.com/v1"
	for path, want := range map[string]int{
		root + "/planets/a":                       200,
		root + "/namespaces/default/planets/a":    404,
		root + "/namespaces/default/planets":      404,
		root + "/namespaces/default/moons/a":      200,
		root + "/moons/a":                         404,
		root + "/moons":                           200,
		root + "/namespaces/default/moons/..%2fa": 404,
		root + "/planet/a":                        404,
		root + "/planet":                          404,
		root + "/planetsx":                        404,
		root + "/planets/a/b":                     404,
		root + "/planets/a/status":                404,
		"/apis/example.com/v2/planets/a":          404,
		"/apis/example.co/v1/planets/a":           404,
		"/api/v1/planets/a":                       404,
	} {
		code := 0
		c.discovery.RESTClient().Get().RequestURI(path).Do(ctx).StatusCode(&code)
		if code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

// TestLookAlikesKeepApart: CVE-2022-3162 was a list of one resource that showed those of another whose key began the same.
func TestLookAlikesKeepApart(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	names := []struct{ group, plural, kind string }{
		{"example.com", "foos", "Foo"}, {"example.com", "foosx", "Foox"}, {"example.com.foos", "foos", "Foo"}, {"example.comx", "foos", "Foo"},
	}
	namespaces := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	must(namespaces.Create(ctx, object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: defaultx}"), metav1.CreateOptions{}))(t)
	for _, n := range names {
		c.define(t, simpleDefinition(n.group, n.plural, n.kind, "Namespaced"))
		r := c.dynamic.Resource(schema.GroupVersionResource{Group: n.group, Version: "v1", Resource: n.plural})
		must(r.Namespace("default").Create(ctx, object(t, "apiVersion: %s/v1\nkind: %s\nmetadata: {name: a}", n.group, n.kind), metav1.CreateOptions{}))(t)
		must(r.Namespace("defaultx").Create(ctx, object(t, "apiVersion: %s/v1\nkind: %s\nmetadata: {name: a}", n.group, n.kind), metav1.CreateOptions{}))(t)
	}
	for _, n := range names {
		r := c.dynamic.Resource(schema.GroupVersionResource{Group: n.group, Version: "v1", Resource: n.plural})
		if list := must(r.List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 2 {
			t.Errorf("%v has %d objects", n, len(list.Items))
		}
		if list := must(r.Namespace("default").List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 1 {
			t.Errorf("%v has %d objects in a namespace", n, len(list.Items))
		}
	}
}

// TestHostileDefinitions: each is refused, or handled, soon.
func TestHostileDefinitions(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	deep := func(n int) string {
		return strings.Repeat(`{"type":"object","properties":{"a":`, n) + `{"type":"string"}` + strings.Repeat("}}", n)
	}
	wide := `{"type":"object","properties":{"p":{"type":"string"}` + strings.Repeat(`,"p%":{"type":"string","description":"`+strings.Repeat("x", 900)+`"}`, 1000) + "}}"
	for i := strings.Index(wide, "%"); i >= 0; i = strings.Index(wide, "%") {
		wide = wide[:i] + strings.Repeat("y", i%97) + wide[i+1:]
	}
	for name, schema := range map[string]string{
		"nested 1000 deep":    deep(1000),
		"nested 9000 deep":    deep(9000),
		"a megabyte":          wide,
		"a recursive ref":     `{"type":"object","properties":{"a":{"$ref":"#"}}}`,
		"an expensive rule":   `{"type":"object","properties":{"a":{"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"string"}}}}},"x-kubernetes-validations":[{"rule":"self.a.all(x, x.all(y, y.all(z, self.a.all(u, u.all(v, v.all(w, w.matches(z)))))))"}]}`,
		"a rule of a MB":      `{"type":"object","x-kubernetes-validations":[{"rule":"true` + strings.Repeat(" || true", 100000) + `"}]}`,
		"a rule nested deep":  `{"type":"object","x-kubernetes-validations":[{"rule":"` + strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000) + `"}]}`,
		"many rules":          `{"type":"object","properties":{"a":{"type":"string","maxLength":10}},"x-kubernetes-validations":[` + strings.TrimSuffix(strings.Repeat(`{"rule":"self.a != 'x'"},`, 2000), ",") + `]}`,
		"many alternatives":   `{"type":"object","x-kubernetes-preserve-unknown-fields":true,"anyOf":[` + strings.TrimSuffix(strings.Repeat(`{"properties":{"a":{"minLength":3}}},`, 20000), ",") + `]}`,
		"nested alternatives": `{"type":"object","x-kubernetes-preserve-unknown-fields":true,` + strings.Repeat(`"allOf":[{`, 500) + `"required":["b"]` + strings.Repeat(`}]`, 500) + `}`,
		"a huge default":      `{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"string","default":"` + strings.Repeat("x", 10000) + `"}}}}}}`,
		"a huge enum":         `{"type":"object","properties":{"a":{"type":"string","enum":["b"` + strings.Repeat(`,"xxxxxxxx"`, 50000) + `]}}}`,
		"a terrible pattern":  `{"type":"object","properties":{"a":{"type":"string","pattern":"(a{1000}){1000}"}}}`,
	} {
		began, before := time.Now(), heap()
		body := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"foos","kind":"Foo"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":` + schema + `}}]}}`
		const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
		err := c.discovery.RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Error()
		took, held := time.Since(began), heap()-before
		t.Logf("%s: %v, %d KB, %.150v", name, took.Round(time.Millisecond), held>>10, err)
		if took > time.Minute { // half a second or two as a rule; without bounds, hours
			t.Errorf("%s took %v", name, took)
		}
		if held > 256<<20 { // a few MB; other tests run beside this one, and without bounds it would be much more
			t.Errorf("%s holds %d MB", name, held>>20)
		}
		if err == nil {
			foos := c.dynamic.Resource(schemaOf("foos"))
			_, err := foos.Create(t.Context(), object(t, "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: a}\na: b"), metav1.CreateOptions{})
			if err != nil && !apierrors.IsInvalid(err) {
				t.Errorf("%s: create: %v", name, err)
			}
			must(0, c.discovery.RESTClient().Delete().AbsPath(path, "foos.example.com").Do(t.Context()).Error())(t)
			for {
				if _, err := c.definitions.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), "foos.example.com", metav1.GetOptions{}); apierrors.IsNotFound(err) {
					break
				}
				if t.Context().Err() != nil {
					t.Fatal("it does not go away")
				}
			}
		}
	}
	c.define(t, simpleDefinition("example.com", "bars", "Bar", "Cluster")) // it still works
}

// TestHostileObjects: an object with tens of thousands of errors is refused as soon as another one.
func TestHostileObjects(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("default")
	for name, text := range map[string]string{
		"wrong elements": `{"name":1,"size":"x"},`, "duplicates": `{"name":"a"},`, "nulls": `null,`, "nothing": `{},`, "unknown fields": `{"name":"a","x":1},`,
	} {
		list := "[" + strings.TrimSuffix(strings.Repeat(text, 50000), ",") + "]"
		body := `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"color":"red","parts":` + list + `}}`
		began := time.Now()
		err := c.discovery.RESTClient().Post().AbsPath("/apis/example.com/v1/namespaces/default/widgets").SetHeader("Content-Type", "application/json").
			Body([]byte(body)).Do(t.Context()).Error()
		t.Logf("%s: %v, %.200v", name, time.Since(began).Round(time.Millisecond), err)
		if !apierrors.IsInvalid(err) {
			t.Errorf("%s: %.500v", name, err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	must(r.Create(t.Context(), object(t, widget, "a", "red"), metav1.CreateOptions{}))(t) // it still works
}

func schemaOf(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: plural}
}

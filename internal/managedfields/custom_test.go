package managedfields

import (
	"fmt"
	"math/rand"
	"sync"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/kind"
)

const thingSchema = `
type: object
properties:
  spec:
    type: object
    properties:
      text: {type: string, nullable: true}
      number: {type: integer}
      float: {type: number}
      flag: {type: boolean}
      port: {x-kubernetes-int-or-string: true}
      words: {type: array, x-kubernetes-list-type: set, items: {type: string}}
      numbers: {type: array, x-kubernetes-list-type: set, items: {type: integer}}
      parts:
        type: array
        x-kubernetes-list-type: map
        x-kubernetes-list-map-keys: [name]
        items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer}, tags: {type: array, items: {type: string}}}}
      ports:
        type: array
        x-kubernetes-list-type: map
        x-kubernetes-list-map-keys: [port, protocol]
        items: {type: object, required: [port], properties: {port: {type: integer}, protocol: {type: string, default: TCP}, text: {type: string}}}
      plain: {type: array, items: {type: object, properties: {text: {type: string}}}}
      whole: {type: object, x-kubernetes-map-type: atomic, properties: {text: {type: string}, number: {type: integer}}}
      labels: {type: object, additionalProperties: {type: string}}
      things: {type: object, additionalProperties: {type: object, properties: {text: {type: string}, number: {type: integer}}}}
      free: {type: object, x-kubernetes-preserve-unknown-fields: true}
      any: {x-kubernetes-preserve-unknown-fields: true}
      template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
      deep: {type: object, properties: {deep: {type: object, properties: {text: {type: string}, words: {type: array, x-kubernetes-list-type: set, items: {type: string}}}}}}
  status:
    type: object
    properties:
      text: {type: string}
      number: {type: integer}
`

// customThing is a custom resource with all that a schema can say of lists and maps, as package custom makes it.
func customThing(t testing.TB) *kind.Resource {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"}}
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
		Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{}}},
	}
	if err := yaml.UnmarshalStrict([]byte(thingSchema), &crd.Spec.Versions[0].Schema.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	crd.Status.AcceptedNames = crd.Spec.Names
	document, err := builder.BuildOpenAPIV3(crd, "v1", builder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]*spec.Schema{}
	for name, model := range document.Components.Schemas {
		models[name] = model
	}
	types, err := managedfields.NewTypeConverter(models, false)
	if err != nil {
		t.Fatal(err)
	}
	return resourceOf(types)
}

func resourceOf(types managedfields.TypeConverter) *kind.Resource {
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	codec := &kind.Codec{Convertor: asTheyAre{}, Defaulter: asTheyAre{}, Creater: asTheyAre{}}
	r := kind.Face(gvk, codec, func() runtime.Object { return &unstructured.Unstructured{} })
	kept := sync.Map{}
	r.Custom = &kind.Custom{
		Types: func() (managedfields.TypeConverter, error) { return types, nil },
		Keep: func(name string, make func() (any, error)) (any, error) {
			if have, ok := kept.Load(name); ok {
				return have, nil
			}
			made, err := make()
			kept.Store(name, made)
			return made, err
		},
	}
	return r
}

// asTheyAre is codec enough for objects of one version.
type asTheyAre struct{}

func (asTheyAre) Default(runtime.Object) {}
func (asTheyAre) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}
func (asTheyAre) Convert(in, out, _ any) error { return nil }
func (asTheyAre) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}
func (asTheyAre) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", nil
}

// maker makes random values, most of them as thingSchema wants them.
type maker struct {
	*rand.Rand
	// wild is how often, in a thousand, a value is of a wrong type.
	wild int
}

func (m *maker) word() any { return words[m.Intn(len(words))] }

func (m *maker) plain() any {
	switch m.Intn(7) {
	case 0:
		return nil
	case 1:
		return int64(m.Intn(3))
	case 2:
		return float64(m.Intn(3)) / 2
	case 3:
		return m.Intn(2) == 0
	case 4:
		return []any{m.word()}
	case 5:
		return map[string]any{"text": m.word()}
	}
	return m.word()
}

func (m *maker) list(of func() any) func() any {
	return func() any {
		list := []any{}
		for range m.Intn(4) {
			list = append(list, of())
		}
		return list
	}
}

func (m *maker) mapOf(of func() any) func() any {
	return func() any {
		object := map[string]any{}
		for range m.Intn(3) {
			object[words[m.Intn(len(words))]] = of()
		}
		return object
	}
}

func (m *maker) number() any { return int64(m.Intn(3)) }

func (m *maker) object(fields map[string]func() any, required ...string) func() any {
	return func() any {
		object := map[string]any{}
		for name, of := range fields {
			switch {
			case m.Intn(1000) < m.wild:
				object[name] = m.plain()
			case m.Intn(3) > 0:
				object[name] = of()
			}
		}
		for _, name := range required {
			if m.Intn(1000) >= m.wild {
				object[name] = fields[name]()
			}
		}
		if m.Intn(2000) < m.wild {
			object["undeclared"] = m.plain()
		}
		return object
	}
}

func (m *maker) spec() map[string]func() any {
	text := map[string]func() any{"text": m.word, "number": m.number}
	return map[string]func() any{
		"text": func() any {
			if m.Intn(3) == 0 {
				return nil
			}
			return m.word()
		},
		"number": m.number, "flag": func() any { return m.Intn(2) == 0 },
		"float": func() any {
			if m.Intn(2) == 0 {
				return m.number()
			}
			return float64(m.Intn(4)) / 2
		},
		"port": func() any {
			if m.Intn(2) == 0 {
				return m.number()
			}
			return m.word()
		},
		"words": m.list(m.word), "numbers": m.list(m.number),
		"parts": m.list(m.object(map[string]func() any{"name": m.word, "size": m.number, "tags": m.list(m.word)}, "name")),
		"ports": m.list(m.object(map[string]func() any{"port": m.number, "protocol": m.word, "text": m.word}, "port")),
		"plain": m.list(m.object(map[string]func() any{"text": m.word})), "whole": m.object(text), "labels": m.mapOf(m.word), "things": m.mapOf(m.object(text)),
		"free": m.mapOf(m.plain), "any": m.plain,
		"template": func() any { return map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": m.mapOf(m.plain)()} },
		"deep":     m.object(map[string]func() any{"deep": m.object(map[string]func() any{"text": m.word, "words": m.list(m.word)})}),
	}
}

func (m *maker) thing() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "a"}}}
	u.Object["spec"] = m.object(m.spec())()
	if m.Intn(2) == 0 {
		u.Object["status"] = map[string]any{"text": m.word(), "number": m.number()}
	}
	if m.Intn(2) == 0 {
		u.SetLabels(map[string]string{"a": fmt.Sprint(m.word())})
	}
	if m.Intn(4) == 0 {
		u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "K", Name: "n", UID: "u"}})
	}
	return u
}

// change makes some of the fields anew.
func (m *maker) change(u *unstructured.Unstructured) {
	spec, ok := u.Object["spec"].(map[string]any)
	if !ok {
		return
	}
	fields := m.spec()
	for name, of := range fields {
		switch m.Intn(12) {
		case 0:
			delete(spec, name)
		case 1, 2:
			spec[name] = of()
		}
	}
	if m.Intn(8) == 0 {
		delete(u.Object, "status")
	}
}

// customStory is story for objects without Go types.
func customStory(t *testing.T, r *kind.Resource, seed int64) (own, all int) {
	t.Helper()
	m, err := New().Manager(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.updater == nil {
		t.Fatal("there is no updater")
	}
	c := &maker{Rand: rand.New(rand.NewSource(seed))}
	if c.Intn(4) == 0 {
		c.wild = 30
	}
	entries := &changer{Rand: c.Rand}
	var live runtime.Object
	live, err = Empty(r)
	if err != nil {
		t.Fatal(err)
	}
	next := c.thing()
	for i := range 8 {
		if i > 0 {
			entries.touchEntries(live, next)
		}
		manager := []string{"one", "two", "three", "four \"quoted\"", ""}[c.Intn(5)]
		label := fmt.Sprintf("seed %d, write %d by %q", seed, i, manager)
		want := m.fields.UpdateNoErrors(live.DeepCopyObject(), next.DeepCopy(), manager)
		got, before := next.DeepCopy(), live.DeepCopyObject()
		all++
		if m.updater.update(live, got, manager) {
			own++
			compareFields(t, label, want, got)
		} else if diff := diffObjects(next, got); diff != "" {
			t.Fatalf("%s: given up, but changed the object\n%s", label, diff)
		}
		if diff := diffObjects(before, live); diff != "" {
			t.Fatalf("%s: changed what was there before\n%s", label, diff)
		}
		live = want
		u := live.(*unstructured.Unstructured)
		setUnstructuredTimes(u, i)
		u.SetUID("00000000-1111-2222-3333-444444444444")
		next = u.DeepCopy()
		c.change(next)
	}
	return own, all
}

func setUnstructuredTimes(u *unstructured.Unstructured, i int) {
	holder := &metav1.PartialObjectMetadata{}
	holder.ManagedFields = u.GetManagedFields()
	setTimes(holder, i)
	u.SetManagedFields(holder.ManagedFields)
}

// TestCustomUpdateAsUpstream tells stories of custom resources, with a schema and without one.
func TestCustomUpdateAsUpstream(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*kind.Resource{"typed": customThing(t), "deduced": resourceOf(managedfields.NewDeducedTypeConverter())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var own, all int
			for seed := range 40 * *stories {
				o, a := customStory(t, r, seed)
				own, all = own+o, all+a
			}
			t.Logf("upstream was not needed for %d of %d writes", own, all)
			if own*3 < all {
				t.Errorf("upstream was needed for %d of %d writes", all-own, all)
			}
		})
	}
}

func FuzzCustomUpdate(f *testing.F) {
	r := customThing(f)
	f.Add(int64(1))
	f.Fuzz(func(t *testing.T, seed int64) { customStory(t, r, seed) })
}

func BenchmarkCreateThing(b *testing.B) {
	m, err := New().Manager(customThing(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	c := &maker{Rand: rand.New(rand.NewSource(1))}
	thing := c.thing()
	live, _ := asTheyAre{}.New(thing.GroupVersionKind())
	for name, update := range map[string]func(live, obj runtime.Object){
		"upstream": func(live, obj runtime.Object) { m.fields.UpdateNoErrors(live, obj, "bench") },
		"compiled": func(live, obj runtime.Object) { m.updater.update(live, obj, "bench") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				thing.SetManagedFields(nil)
				update(live, thing)
			}
		})
	}
}

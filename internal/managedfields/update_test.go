package managedfields

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	definitions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	apitesting "k8s.io/kubernetes/pkg/api/testing"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

// subject is a kind in a version, or a subresource of one.
type subject struct {
	resource *kind.Resource
	sub      *kind.Subresource
}

func (s subject) String() string {
	name := strings.ReplaceAll(s.resource.GVK().String(), "/", "_")
	if s.sub != nil {
		name += "_" + s.sub.Name
	}
	return name
}

// subjects returns every kind in every version that upstream knows, and the built-in resources with their subresources.
func subjects(t testing.TB, tracker *Tracker) []subject {
	t.Helper()
	types, err := tracker.types()
	if err != nil {
		t.Fatal(err)
	}
	var list []subject
	for _, gvk := range types.Kinds() {
		hub := schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind}
		obj, err := legacyscheme.Scheme.New(hub)
		if err != nil {
			continue
		}
		if _, ok := obj.(metav1.ObjectMetaAccessor); !ok {
			continue // a list, or options
		}
		codec := &kind.Codec{Convertor: legacyscheme.Scheme, Defaulter: legacyscheme.Scheme, Creater: legacyscheme.Scheme}
		list = append(list, subject{resource: kind.Face(gvk, codec, func() runtime.Object {
			obj, _ := legacyscheme.Scheme.New(hub)
			return obj
		})})
	}
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table := kind.NewTable(kinds...)
	for _, k := range table.Kinds() {
		for _, version := range k.Versions {
			r := table.Resource(k.Group, version, k.Resource)
			list = append(list, subject{resource: r})
			for _, sub := range k.Subresources {
				if sub.View == nil && sub.Storage == nil && sub.Face == nil {
					list = append(list, subject{resource: r, sub: sub})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b subject) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// changer makes random objects and changes them at random.
type changer struct {
	*rand.Rand
	fill *randfill.Filler
	// odd leaves strings as they come: with everything that JSON escapes.
	odd bool
}

func newChanger(seed int64) *changer {
	c := &changer{Rand: rand.New(rand.NewSource(seed))}
	funcs := fuzzer.MergeFuzzerFuncs(apitesting.FuzzerFuncs, definitions.Funcs)
	c.fill = fuzzer.FuzzerFor(funcs, rand.NewSource(seed), legacyscheme.Codecs).NumElements(0, 2)
	c.odd = c.Intn(8) == 0
	return c
}

func (c *changer) object(r *kind.Resource) runtime.Object {
	obj := r.New()
	c.fill.Fill(obj)
	c.tame(reflect.ValueOf(obj))
	accessor, _ := meta.Accessor(obj)
	accessor.SetManagedFields(nil)
	return obj
}

var words = []string{"a", "b", "c", "example.com/d", "e-1", "F_2", "g:h", "i{}", "j,k", "", "l m", "n!", "o~", "p.q"}

// tame makes strings ordinary and few, so that keys come twice.
func (c *changer) tame(v reflect.Value) {
	if c.odd {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			c.tame(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				c.tame(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.tame(v.Index(i))
		}
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String || v.IsNil() {
			return
		}
		tamed := reflect.MakeMap(v.Type())
		for entries := v.MapRange(); entries.Next(); {
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(entries.Value())
			c.tame(element)
			tamed.SetMapIndex(reflect.ValueOf(words[c.Intn(len(words))]).Convert(v.Type().Key()), element)
		}
		v.Set(tamed)
	case reflect.String:
		if v.CanSet() && c.Intn(4) > 0 {
			v.SetString(words[c.Intn(len(words))])
		} else if v.CanSet() {
			v.SetString("")
		}
	}
}

// change changes a few things somewhere below a value.
func (c *changer) change(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.CanSet() && c.Intn(20) == 0 {
			c.refill(v)
			return
		}
		c.change(v.Elem())
	case reflect.Struct:
		if v.NumField() == 0 || !v.Type().Field(0).IsExported() || v.Type() == reflect.TypeFor[metav1.Time]() {
			c.refill(v)
			return
		}
		for range 1 + c.Intn(2) {
			if i := c.Intn(v.NumField()); v.Type().Field(i).IsExported() {
				c.change(v.Field(i))
			}
		}
	case reflect.Slice:
		c.changeList(v)
	case reflect.Map:
		if v.Len() > 0 && c.Intn(3) > 0 {
			keys := v.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			key := keys[c.Intn(len(keys))]
			if c.Intn(2) == 0 {
				v.SetMapIndex(key, reflect.Value{})
				return
			}
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(v.MapIndex(key))
			c.change(element)
			v.SetMapIndex(key, element)
			return
		}
		c.refill(v)
	default:
		c.refill(v)
	}
}

func (c *changer) changeList(v reflect.Value) {
	n := v.Len()
	if !v.CanSet() || n == 0 || v.Type().Elem().Kind() == reflect.Uint8 {
		c.refill(v)
		return
	}
	i := c.Intn(n)
	switch c.Intn(6) {
	case 0: // one less
		v.Set(reflect.AppendSlice(v.Slice3(0, i, i), v.Slice(i+1, n)))
	case 1: // one twice
		v.Set(reflect.Append(v.Slice3(0, n, n), v.Index(i)))
	case 2: // one more
		element := reflect.New(v.Type().Elem()).Elem()
		c.refill(element)
		v.Set(reflect.Append(v.Slice3(0, n, n), element))
	case 3: // empty, but there
		v.Set(v.Slice3(0, 0, 0))
	default:
		c.change(v.Index(i))
	}
}

func (c *changer) refill(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	if c.Intn(3) == 0 {
		v.SetZero()
		return
	}
	fresh := reflect.New(v.Type())
	func() {
		defer func() { _ = recover() }() // not every type can be filled on its own
		c.fill.Fill(fresh.Interface())
	}()
	c.tame(fresh.Elem())
	v.Set(fresh.Elem())
}

// story writes an object several times, under several names, and compares what comes out of it with what upstream makes of it.
// It returns how often upstream was not needed.
func story(t *testing.T, tracker *Tracker, s subject, seed int64) (own, all int) {
	t.Helper()
	m, err := tracker.Manager(s.resource, s.sub)
	if err != nil {
		t.Fatal(err)
	}
	c := newChanger(seed)
	live, err := Empty(s.resource)
	if err != nil {
		t.Fatal(err)
	}
	next := c.object(s.resource)
	for i := range 8 {
		if i == 0 {
			accessor, _ := meta.Accessor(next)
			accessor.SetUID("")
		}
		c.touchEntries(live, next)
		manager := []string{"one", "two", "three", "four \"quoted\"", ""}[c.Intn(5)]
		label := fmt.Sprintf("%v, seed %d, write %d by %q", s, seed, i, manager)
		want := upstream(m, live.DeepCopyObject(), next.DeepCopyObject(), manager)
		if want == nil {
			return own, all
		}
		got := next.DeepCopyObject()
		before := live.DeepCopyObject()
		all++
		if m.updater != nil && m.updater.update(live, got, manager) {
			own++
			compareFields(t, label, want, got)
		} else if diff := diffObjects(next, got); diff != "" {
			t.Fatalf("%s: given up, but changed the object\n%s", label, diff)
		}
		if diff := diffObjects(before, live); diff != "" {
			t.Fatalf("%s: changed what was there before\n%s", label, diff)
		}
		live = want
		setTimes(live, i)
		accessor, _ := meta.Accessor(live)
		accessor.SetUID("00000000-1111-2222-3333-444444444444")
		next = live.DeepCopyObject()
		for range c.Intn(4) {
			c.changeObject(next)
		}
	}
	return own, all
}

// upstream panics for what cannot be written as JSON, which a client cannot send; then there is nothing to compare with.
func upstream(m *Manager, live, obj runtime.Object, manager string) (want runtime.Object) {
	defer func() { _ = recover() }()
	return m.fields.UpdateNoErrors(live, obj, manager)
}

// changeObject leaves the entries alone.
func (c *changer) changeObject(obj runtime.Object) {
	accessor, _ := meta.Accessor(obj)
	entries := accessor.GetManagedFields()
	c.change(reflect.ValueOf(obj))
	accessor.SetManagedFields(entries)
	if accessor.GetUID() == "" {
		accessor.SetUID("00000000-1111-2222-3333-444444444444")
	}
}

// touchEntries does to entries what clients do.
func (c *changer) touchEntries(live, obj runtime.Object) {
	was, _ := meta.Accessor(live)
	is, _ := meta.Accessor(obj)
	entries := is.GetManagedFields()
	switch c.Intn(16) {
	case 0:
		is.SetManagedFields(nil)
	case 1:
		is.SetManagedFields([]metav1.ManagedFieldsEntry{})
	case 2:
		is.SetManagedFields([]metav1.ManagedFieldsEntry{{}})
	case 3, 4, 5: // somebody has applied
		if i := c.Intn(len(entries) + 1); i < len(entries) {
			entries[i].Operation = metav1.ManagedFieldsOperationApply
			entries[i].Manager = fmt.Sprint("applier ", c.Intn(3))
			was.SetManagedFields(slices.Clone(entries))
		}
	case 6:
		if len(entries) > 0 {
			entries[0].FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:b":{},".":{}}}}`)
		}
	case 7:
		if len(entries) > 0 {
			entries[0].APIVersion = "v1"
		}
	}
}

func setTimes(obj runtime.Object, i int) {
	accessor, _ := meta.Accessor(obj)
	entries := accessor.GetManagedFields()
	for j := range entries {
		if entries[j].Time == nil || time.Since(entries[j].Time.Time) < time.Hour {
			entries[j].Time = &metav1.Time{Time: time.Unix(1_000_000_000+int64(i), 0)}
		}
	}
}

func compareFields(t *testing.T, label string, want, got runtime.Object) {
	t.Helper()
	w, _ := meta.Accessor(want)
	g, _ := meta.Accessor(got)
	if diff := cmp.Diff(describe(w.GetManagedFields()), describe(g.GetManagedFields())); diff != "" {
		t.Fatalf("%s (-upstream +own):\n%s", label, diff)
	}
	w.SetManagedFields(nil)
	entries := g.GetManagedFields()
	g.SetManagedFields(nil)
	if diff := diffObjects(want, got); diff != "" {
		t.Fatalf("%s: the object (-upstream +own):\n%s", label, diff)
	}
	w.SetManagedFields(entries)
	g.SetManagedFields(entries)
}

func diffObjects(a, b runtime.Object) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return cmp.Diff(string(x), string(y))
}

// describe leaves out times that are now.
func describe(entries []metav1.ManagedFieldsEntry) []string {
	var lines []string
	for _, e := range entries {
		when := "now"
		if e.Time == nil {
			when = "never"
		} else if time.Since(e.Time.Time) > time.Hour {
			when = e.Time.UTC().Format(time.RFC3339)
		}
		lines = append(lines, fmt.Sprint(e.Manager, " ", e.Operation, " ", e.APIVersion, " ", e.Subresource, " ", e.FieldsType, " ", when),
			e.FieldsV1.GetRawString())
	}
	return lines
}

var stories = flag.Int64("stories", 2, "how many stories are told of each kind")

func TestUpdateAsUpstream(t *testing.T) {
	t.Parallel()
	tracker := New()
	for _, s := range subjects(t, tracker) {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			var own, all int
			for seed := range *stories {
				o, a := story(t, tracker, s, seed)
				own, all = own+o, all+a
			}
			if m, err := tracker.Manager(s.resource, s.sub); err != nil || m.updater != nil && own*2 < all {
				t.Errorf("upstream was needed for %d of %d writes, %v", all-own, all, err)
			}
		})
	}
}

func FuzzUpdate(f *testing.F) {
	tracker := New()
	list := subjects(f, tracker)
	f.Add(int64(1), uint16(0))
	f.Fuzz(func(t *testing.T, seed int64, which uint16) {
		story(t, tracker, list[int(which)%len(list)], seed)
	})
}

// What is read is written again as it was, or it is left to upstream, which reads much more.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"f:a":{}}`, `{"f:a":{".":{},"f:b":{}},"f:c":{"k:{\"n\":\"v\",\"p\":80}":{".":{},"f:n":{}},"v:\"x\"":{}}}`,
		`{"f:b":{},"f:a":{}}`, `{"f:a":{".":{}}}`, `{"f:a":{}} `, `{"f:\u0061":{}}`, `{"k:{\"p\":8.0}":{}}`, `{"v:true":{},"v:1":{}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, ok := parseFields(text)
		if !ok {
			return
		}
		var want fieldpath.Set
		if err := want.FromJSON(strings.NewReader(text)); err != nil {
			t.Fatalf("%q: upstream cannot read it: %v", text, err)
		}
		written, err := want.ToJSON()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(set.append(nil)); got != text || got != string(written) {
			t.Fatalf("%q is written as %q, by upstream as %q", text, got, written)
		}
	})
}

package managedfields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// configurations are what managers have applied.
type configurations struct {
	*changer
	subject
	last map[string]map[string]any
}

// next is what a manager applies: parts of the object as it is, of another one, or what it has applied before with changes.
func (c *configurations) next(manager string, live runtime.Object) *unstructured.Unstructured {
	var configuration map[string]any
	switch last := c.last[manager]; {
	case last != nil && c.Intn(4) > 0:
		configuration = runtime.DeepCopyJSON(last)
		if c.Intn(3) > 0 {
			c.alter(configuration, c.document(c.object(c.resource)))
		}
	case c.Intn(2) == 0:
		configuration = c.some(c.document(live))
	default:
		configuration = c.some(c.document(c.object(c.resource)))
	}
	metadata, _ := configuration["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	for _, name := range []string{"managedFields", "uid", "resourceVersion", "creationTimestamp"} {
		delete(metadata, name)
	}
	metadata["name"] = "n"
	gvk := c.resource.GVK()
	configuration["metadata"], configuration["kind"], configuration["apiVersion"] = metadata, gvk.Kind, gvk.GroupVersion().String()
	c.last[manager] = runtime.DeepCopyJSON(configuration)
	return &unstructured.Unstructured{Object: configuration}
}

// document is an object of the hub version as a document in the version of the resource.
func (c *configurations) document(obj runtime.Object) map[string]any {
	versioned, err := c.resource.Codec.Convertor.ConvertToVersion(obj, c.resource.Version)
	if err != nil {
		return map[string]any{} // some selectors cannot be said
	}
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(versioned)
	if err != nil {
		return map[string]any{} // a client cannot send it
	}
	return document
}

// some is a part of a document. What is null is mostly left out, as clients do.
func (c *configurations) some(document map[string]any) map[string]any {
	part := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(document)) {
		switch v := document[name].(type) {
		case nil:
			if c.Intn(20) == 0 {
				part[name] = nil
			}
		case map[string]any:
			if inner := c.some(v); c.Intn(3) > 0 && (len(inner) > 0 || c.Intn(8) == 0) {
				part[name] = inner
			}
		default:
			if c.Intn(3) > 0 {
				part[name] = runtime.DeepCopyJSONValue(v)
			}
		}
	}
	return part
}

// alter changes a few values of a configuration to those that another document has, and adds some.
func (c *configurations) alter(configuration, other map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(configuration)) {
		inner, isMap := configuration[name].(map[string]any)
		from, _ := other[name].(map[string]any)
		switch {
		case isMap && c.Intn(3) > 0:
			c.alter(inner, from)
		case isMap:
		case c.Intn(5) == 0 && other[name] != nil:
			configuration[name] = other[name]
		case c.Intn(30) == 0:
			delete(configuration, name)
		}
	}
	if name := slices.Sorted(maps.Keys(other)); len(name) > 0 && c.Intn(6) == 0 {
		if added := name[c.Intn(len(name))]; other[added] != nil {
			configuration[added] = other[added]
		}
	}
}

// applyStory applies to an object several times, under several names, with updates in between.
func applyStory(t *testing.T, tracker *Tracker, s subject, seed int64) (own, all int) {
	t.Helper()
	m, err := tracker.Manager(s.resource, s.sub)
	if err != nil {
		t.Fatal(err)
	}
	c := &configurations{changer: newChanger(seed), subject: s, last: map[string]map[string]any{}}
	live, err := Empty(s.resource)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		manager := []string{"one", "two", "kubectl"}[c.Intn(3)]
		if i > 0 && c.Intn(4) == 0 {
			live = c.updated(m, live, i)
			continue
		}
		configuration, force := c.next(manager, live), c.Intn(2) == 0
		text, _ := json.Marshal(configuration.Object)
		label := fmt.Sprintf("%v, seed %d, write %d by %q (force: %v)\n%s\n", s, seed, i, manager, force, text)
		want, wantErr := upstreamApply(m, live.DeepCopyObject(), configuration.DeepCopy(), manager, force)
		before, sent := live.DeepCopyObject(), configuration.DeepCopy()
		all++
		if m.updater != nil {
			if got, ok := m.updater.apply(live, configuration, manager, force); ok {
				own++
				if wantErr != nil {
					t.Fatalf("%s: upstream says %v", label, wantErr)
				}
				compareFields(t, label, want.DeepCopyObject(), got)
			}
		}
		if diff := diffObjects(before, live) + diffObjects(sent, configuration); diff != "" {
			t.Fatalf("%s: changed what was there before\n%s", label, diff)
		}
		if wantErr != nil || want == nil {
			continue
		}
		live = want
		setTimes(live, i)
		accessor, _ := meta.Accessor(live)
		accessor.SetUID("00000000-1111-2222-3333-444444444444")
		live = c.stored(live)
	}
	return own, all
}

// updated is the object after an update by somebody.
func (c *configurations) updated(m *Manager, live runtime.Object, i int) runtime.Object {
	if accessor, _ := meta.Accessor(live); accessor.GetUID() == "" {
		return live
	}
	next := live.DeepCopyObject()
	c.changeObject(next)
	updated := upstream(m, live, next, "updater")
	if updated == nil {
		return live
	}
	setTimes(updated, i)
	return c.stored(updated)
}

// stored is an object as it comes out of the store: without empty lists where there is nothing.
func (c *configurations) stored(obj runtime.Object) runtime.Object {
	gvk := c.resource.GVK()
	versioned, err := c.resource.Codec.Convertor.ConvertToVersion(obj, gvk.GroupVersion())
	if err != nil {
		return obj
	}
	text, err := json.Marshal(versioned)
	if err != nil {
		return obj
	}
	read, err := c.resource.Codec.Creater.New(gvk)
	if err != nil || json.Unmarshal(text, read) != nil {
		return obj
	}
	c.resource.Codec.Defaulter.Default(read)
	hub, err := c.resource.Codec.Convertor.ConvertToVersion(read, schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return obj
	}
	return hub
}

// upstreamApply has no outcome for what upstream panics for.
func upstreamApply(m *Manager, live runtime.Object, configuration *unstructured.Unstructured, manager string, force bool) (want runtime.Object, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			want, err = nil, fmt.Errorf("panic: %v", broken)
		}
	}()
	return m.fields.Apply(live, configuration, manager, force)
}

func TestApplyAsUpstream(t *testing.T) {
	t.Parallel()
	tracker := New()
	var own, all atomic.Int64
	t.Cleanup(func() {
		if own.Load()*2 < all.Load() {
			t.Errorf("upstream was needed for all but %d of %d applied configurations", own.Load(), all.Load())
		}
	})
	for _, s := range subjects(t, tracker) {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range *stories {
				o, a := applyStory(t, tracker, s, seed)
				own.Add(int64(o))
				all.Add(int64(a))
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	tracker := New()
	list := subjects(f, tracker)
	f.Add(int64(1), uint16(0))
	f.Fuzz(func(t *testing.T, seed int64, which uint16) {
		applyStory(t, tracker, list[int(which)%len(list)], seed)
	})
}

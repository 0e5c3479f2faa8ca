package managedfields

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// slot is where a value of an object is, or could be.
type slot struct {
	value any
	there bool
}

// verdict says what becomes of a write.
type verdict uint8

const (
	done  verdict = iota
	leave         // upstream has to do it
	// invalid is an object that is not of its schema. Validation is about to refuse it, or it was let in before the schema was what it
	// is. Upstream finds that nothing can be said of its fields, and leaves the entries as they were.
	invalid
)

// compareMaps compares two objects that are made of maps.
func compareMaps(s *shape, before, after map[string]any) (comparison, verdict) {
	for _, object := range []map[string]any{after, before} {
		if v := s.check(object); v != done {
			return comparison{}, v
		}
	}
	w := &walk{ok: true}
	f := w.compareSlots(s, slot{before, true}, slot{after, true})
	if !w.ok {
		return comparison{}, leave
	}
	return comparison{added: f.added.children, modified: f.modified.children, removed: f.removed.children}, done
}

// check finds out whether a value is of a shape, as upstream does when it makes a typed value (typed/validate.go).
func (s *shape) check(v any) verdict {
	switch v := v.(type) {
	case nil:
		if s.only() == noSort {
			return leave
		}
		return done
	case string:
		return s.checkScalar(smd.String)
	case bool:
		return s.checkScalar(smd.Boolean)
	case int64, float64:
		return s.checkScalar(smd.Numeric)
	case []any:
		if s.list == nil {
			return s.wrong()
		}
		return s.list.check(v)
	case map[string]any:
		if s.object == nil {
			return s.wrong()
		}
		return s.object.check(v)
	}
	return leave
}

// wrong is the verdict on a value of a sort that is not allowed.
func (s *shape) wrong() verdict {
	if s.only() == noSort {
		return leave
	}
	return invalid
}

func (s *shape) checkScalar(is smd.Scalar) verdict {
	switch s.scalar {
	case "":
		return s.wrong()
	case is, smd.Untyped:
		return done
	}
	return invalid
}

func (o *objectShape) check(object map[string]any) verdict {
	worst := done
	for name, v := range object {
		var below *shape
		if f := o.fields[name]; f != nil {
			below = f.shape
		} else if below = o.element; below == nil {
			return invalid
		}
		if worst = max(worst, below.check(v)); worst == invalid {
			break
		}
	}
	return worst
}

func (l *listShape) check(list []any) verdict {
	if l.foreign {
		return leave
	}
	worst := done
	for _, v := range list {
		if !l.atomic {
			worst = max(worst, l.checkKey(v))
		}
		if worst = max(worst, l.element.check(v)); worst == invalid {
			break
		}
	}
	return worst
}

// checkKey finds out whether an element can be told from others.
func (l *listShape) checkKey(v any) verdict {
	if len(l.keys) == 0 {
		switch v.(type) {
		case nil, map[string]any, []any:
			return invalid
		}
		return done
	}
	object, ok := v.(map[string]any)
	if !ok {
		return invalid
	}
	for _, key := range l.keys {
		if _, ok := object[key.name]; ok || key.fallback != nil {
			return done
		}
	}
	return invalid
}

// compareSlots is compare for values whose schema is a shape, and which are of it.
func (w *walk) compareSlots(s *shape, before, after slot) finding {
	if !w.ok {
		return finding{}
	}
	switch s.sort(before, after) {
	case scalarSort:
		return compareWhole(before, after)
	case listSort:
		l, _ := before.value.([]any)
		r, _ := after.value.([]any)
		if s.list.atomic || len(l) == 0 && len(r) == 0 {
			return compareWhole(before, after)
		}
		return w.within(before, after, func() { w.compareItems(s.list, l, r) })
	case objectSort:
		l, _ := before.value.(map[string]any)
		r, _ := after.value.(map[string]any)
		if s.object.atomic || len(l) == 0 && len(r) == 0 {
			return compareWhole(before, after)
		}
		return w.within(before, after, func() { w.compareMembers(s.object, l, r) })
	}
	return w.give()
}

// sort is what two values are, at least one of which is there; noSort if upstream has to see to it.
func (s *shape) sort(before, after slot) sort {
	if only := s.only(); only != noSort {
		return only
	}
	l, r := sortOf(before), sortOf(after)
	switch {
	case !before.there:
		return r
	case !after.there, l == r:
		return l
	}
	return noSort
}

func sortOf(v slot) sort {
	switch v.value.(type) {
	case nil:
		return noSort
	case []any:
		return listSort
	case map[string]any:
		return objectSort
	}
	return scalarSort
}

// compareWhole compares what is owned as a whole.
func compareWhole(before, after slot) finding {
	var f finding
	f.added.member, f.removed.member = !before.there, !after.there
	f.modified.member = before.there && after.there && !equalValues(before.value, after.value)
	return f
}

func equalValues(a, b any) bool {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return a == b
		}
	case int64:
		if b, ok := b.(int64); ok {
			return a == b
		}
	case bool:
		if b, ok := b.(bool); ok {
			return a == b
		}
	}
	return value.Equals(value.NewValueInterface(a), value.NewValueInterface(b))
}

// within collects what is found below a path.
func (w *walk) within(before, after slot, look func()) finding {
	a, m, d := len(w.added), len(w.modified), len(w.removed)
	look()
	var f finding
	f.added.member, f.removed.member = !before.there, !after.there
	f.added.children, w.added = cut(w.added, a)
	f.modified.children, w.modified = cut(w.modified, m)
	f.removed.children, w.removed = cut(w.removed, d)
	return f
}

func (w *walk) compareMembers(o *objectShape, before, after map[string]any) {
	from := len(w.keys)
	defer func() { w.keys = w.keys[:from] }()
	w.keys = slices.AppendSeq(w.keys, maps.Keys(after))
	for name := range before {
		if _, both := after[name]; !both {
			w.keys = append(w.keys, name)
		}
	}
	slices.Sort(w.keys[from:])
	for i, end := from, len(w.keys); i < end; i++ {
		name := w.keys[i]
		at, below := o.at(name)
		if !allPlain(name) || below == nil {
			w.ok = false
			return
		}
		var l, r slot
		l.value, l.there = before[name]
		r.value, r.there = after[name]
		w.note(at, w.compareSlots(below, l, r))
	}
}

// listed is an element of a list, by its key.
type listed struct {
	step
	value any
}

func (w *walk) compareItems(shape *listShape, before, after []any) {
	l, r := w.items(shape, before), w.items(shape, after)
	for w.ok && (len(l) > 0 || len(r) > 0) {
		order := 0
		switch {
		case len(r) == 0:
			order = -1
		case len(l) == 0:
			order = 1
		default:
			order = l[0].compare(&r[0].step)
		}
		var was, is slot
		var at step
		if order <= 0 {
			at, was, l = l[0].step, slot{l[0].value, true}, l[1:]
		}
		if order >= 0 {
			at, is, r = r[0].step, slot{r[0].value, true}, r[1:]
		}
		w.note(at, w.compareSlots(shape.element, was, is))
	}
}

// items are the elements of a list, sorted by key. Where two have the same key upstream has to see to them.
func (w *walk) items(shape *listShape, list []any) []listed {
	items := make([]listed, len(list))
	for i, v := range list {
		at, ok := shape.stepTo(v)
		if !ok {
			w.ok = false
			return nil
		}
		items[i] = listed{at, v}
	}
	slices.SortFunc(items, func(a, b listed) int { return a.compare(&b.step) })
	for i := 1; i < len(items); i++ {
		if items[i].compare(&items[i-1].step) == 0 {
			w.ok = false
			return nil
		}
	}
	return items
}

// stepTo is the path element of an element.
func (l *listShape) stepTo(v any) (step, bool) {
	if len(l.keys) == 0 {
		s, ok := keyScalar(v)
		var text strings.Builder
		text.WriteString(`"v:`)
		s.write(&text)
		text.WriteString(`"`)
		return step{text: text.String(), kind: valueStep, keys: []keyValue{{value: s}}}, ok
	}
	object, _ := v.(map[string]any)
	keys := make([]keyValue, 0, len(l.keys))
	for _, k := range l.keys {
		if field, there := object[k.name]; there {
			s, ok := keyScalar(field)
			if !ok {
				return step{}, false
			}
			keys = append(keys, keyValue{name: k.name, value: s})
		} else if k.fallback != nil {
			keys = append(keys, keyValue{name: k.name, value: *k.fallback})
		}
	}
	return step{text: keyText(keys), kind: keyStep, keys: keys}, len(keys) > 0
}

// setEntries writes entries into an object that is made of maps, as SetManagedFields would: by way of their Go type and of JSON.
func setEntries(obj runtime.Object, entries []entry) bool {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return false
	}
	metadata, ok := u.Object["metadata"].(map[string]any)
	if !ok || len(entries) == 0 {
		return false
	}
	inOrder(entries)
	list := make([]any, len(entries))
	for i, e := range entries {
		if e.Time != nil && e.Time.IsZero() {
			return false
		}
		written := map[string]any{
			"operation": string(e.Operation), "apiVersion": e.APIVersion, "fieldsType": e.FieldsType, "fieldsV1": e.set.asMap(false),
		}
		for name, text := range map[string]string{"manager": e.Manager, "subresource": e.Subresource} {
			if text != "" {
				written[name] = text
			}
		}
		if e.Time != nil {
			written["time"] = e.Time.UTC().Format(time.RFC3339)
		}
		list[i] = written
	}
	metadata["managedFields"] = list
	return true
}

// asMap is what JSON makes of the set's text.
func (s fieldset) asMap(member bool) map[string]any {
	m := make(map[string]any, len(s)+1)
	if member && len(s) > 0 {
		m["."] = map[string]any{}
	}
	for i := range s {
		it := &s[i]
		name := it.text[1 : len(it.text)-1]
		if it.kind != fieldStep {
			name = strings.ReplaceAll(name, `\"`, `"`) // the only escapes there are
		}
		m[name] = it.children.asMap(it.member)
	}
	return m
}

// keyScalar is a value as a key, and false if upstream has to see to it.
func keyScalar(v any) (scalar, bool) {
	switch v := v.(type) {
	case string:
		return scalar{kind: stringScalar, text: v}, allPlain(v)
	case bool:
		if v {
			return scalar{kind: boolScalar, number: 1}, true
		}
		return scalar{kind: boolScalar}, true
	case int64:
		return scalar{number: v}, small(v)
	}
	return scalar{}, false
}

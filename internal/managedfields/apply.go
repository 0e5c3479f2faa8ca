package managedfields

import (
	"reflect"
	"slices"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// apply does what upstream's FieldManager.Apply does, when an applied configuration is what configurations usually are: it names
// at least what its manager applied before, it is in no conflict, and merging it leaves the order of lists as it is. It returns
// false, and has changed nothing, if upstream has to do it; errors are upstream's to find, and to word.
func (u *updater) apply(live, applied runtime.Object, manager string, force bool) (runtime.Object, bool) {
	configuration, ok := applied.(*unstructured.Unstructured)
	if !ok || configuration.GroupVersionKind() != u.gvk || !utf8.ValidString(manager) || manager == "" {
		return nil, false
	}
	accessor, err := meta.Accessor(live)
	if err != nil || manager == kubectl && (annotated(accessor) || annotated(configuration)) {
		return nil, false
	}
	entries, ok := u.decodeAll(accessor.GetManagedFields())
	if !ok || len(entries) == 0 && accessor.GetUID() != "" { // nobody has looked after this object yet
		return nil, false
	}
	before, after, ok := u.both(live)
	if !ok {
		return nil, false
	}
	m := &merging{ok: true}
	set := without(m.merge(u.plan, reflect.ValueOf(after), configuration.Object).children, u.reset)
	if !m.ok {
		return nil, false
	}
	entries, unchanged, ok := u.takeOver(before, after, entries, set, manager, force)
	if !ok {
		return nil, false
	}
	obj, ok := u.finished(live, after, unchanged)
	if !ok {
		return nil, false
	}
	if accessor, err = meta.Accessor(obj); err != nil {
		return nil, false
	}
	accessor.SetManagedFields(encode(entries))
	return obj, true
}

// kubectl is the manager that moves objects from client-side to server-side apply (lastappliedmanager.go, lastappliedupdater.go),
// when they have the annotation.
const kubectl = "kubectl"

func annotated(obj metav1.Object) bool {
	_, ok := obj.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"]
	return ok
}

// both are the live object in the version of the plan, without managed fields, and a copy of that.
func (u *updater) both(live runtime.Object) (before, after runtime.Object, ok bool) {
	before, err := u.convertor.ConvertToVersion(live, u.gvk.GroupVersion())
	if err != nil || u.compiled(before) == nil || reflect.TypeOf(before) != u.goType {
		return nil, nil, false
	}
	if before != live {
		accessor, err := meta.Accessor(before)
		if err != nil {
			return nil, nil, false
		}
		accessor.SetManagedFields(nil)
	}
	return before, before.DeepCopyObject(), true
}

// takeOver is what the write does to the entries: its manager owns what is in the set, and what it changes belongs to nobody
// else. It also reports whether it changes nothing at all.
func (u *updater) takeOver(before, after runtime.Object, entries []entry, set fieldset, manager string, force bool) (kept []entry, unchanged, ok bool) {
	found, ok := compareObjects(u.plan, before, after)
	if !ok {
		return nil, false, false
	}
	unchanged = len(found.added) == 0 && len(found.modified) == 0 && len(found.removed) == 0
	changed := without(union(found.modified, found.added), u.reset)
	removed := without(found.removed, u.reset)
	mine := entry{ManagedFieldsEntry: &metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: u.gvk.GroupVersion().String(),
		FieldsType: "FieldsV1", Subresource: u.subresource,
	}}
	for _, e := range entries {
		switch left := difference(e.set, changed); {
		case !u.plan.fits(e.set):
			return nil, false, false
		case compareEntries(e.ManagedFieldsEntry, mine.ManagedFieldsEntry) == 0:
			if len(difference(e.set, set)) > 0 { // something is not applied any more, and may have to go
				return nil, false, false
			}
			mine.Time = e.Time
		case !same(left, e.set) && !force: // a conflict
			return nil, false, false
		default:
			if left := difference(left, removed); len(left) > 0 {
				kept = append(kept, e.left(left))
			}
		}
	}
	if own := difference(set, u.never); len(own) > 0 {
		if !unchanged {
			mine.Time = &metav1.Time{Time: u.now().UTC()}
		}
		mine.replace(own)
		kept = append(kept, mine)
	}
	return kept, unchanged, true
}

// left is an entry with what is left of its set.
func (e entry) left(set fieldset) entry {
	if !same(set, e.set) {
		e.replace(set)
	}
	return e
}

// finished is the new object in the hub version, with defaults, or the one that is there when nothing has changed.
func (u *updater) finished(live, after runtime.Object, unchanged bool) (runtime.Object, bool) {
	if unchanged {
		return live.DeepCopyObject(), true
	}
	u.defaulter.Default(after)
	obj, err := u.convertor.ConvertToVersion(after, u.hub)
	return obj, err == nil
}

// merging puts a configuration into an object, and notes which fields it has (structured-merge-diff, typed/merge.go and tofieldset.go).
type merging struct {
	ok bool // false: upstream has to do it
}

func (m *merging) give() found {
	m.ok = false
	return found{}
}

// merge merges a value into one of a Go type that can be set, or a pointer to one. What it finds is the fields below, and whether
// the value is owned as a whole.
func (m *merging) merge(p *plan, to reflect.Value, from any) found {
	if !m.ok || from == nil || p.ambiguous && p.op != ownForm {
		return m.give()
	}
	switch p.op {
	case leaf, ownForm:
		if p.doubtful || p.op == ownForm && !plainScalar(from) || p.repeats(from) || !setLeaf(to, from, p.convert != nil) {
			return m.give()
		}
		return found{member: true}
	case asStruct:
		return m.mergeFields(p, to, from)
	case asMap:
		return m.mergeEntries(p, to, from)
	case asList:
		return m.mergeElements(p, to, from)
	}
	return m.give()
}

func (m *merging) mergeFields(p *plan, to reflect.Value, from any) found {
	values, ok := from.(map[string]any)
	if !ok {
		return m.give()
	}
	if to.Kind() == reflect.Pointer {
		if to.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
		}
		to = to.Elem()
	}
	all := make(fieldset, 0, len(values))
	for i := range p.fields {
		f := &p.fields[i]
		v, ok := values[f.text[3:len(f.text)-1]]
		if !ok {
			continue
		}
		field := f.in(to)
		if !field.CanSet() {
			return m.give()
		}
		inner := m.merge(f.plan, field, v)
		if !m.ok || f.entry.CanOmit(field) { // what is there but empty is something else for upstream than what is not
			return m.give()
		}
		values, isMap := v.(map[string]any)
		all = append(all, item{step: f.step, member: inner.member || isMap && len(values) == 0, children: inner.children})
	}
	if len(all) != len(values) { // there are others, which the type does not have
		return m.give()
	}
	return found{children: all}
}

// in is the field in a struct.
func (f *fieldPlan) in(v reflect.Value) reflect.Value {
	if f.index >= 0 {
		return v.Field(f.index)
	}
	return f.entry.GetFrom(v)
}

func (m *merging) mergeEntries(p *plan, to reflect.Value, from any) found {
	values, ok := from.(map[string]any)
	if !ok || to.Kind() != reflect.Map {
		return m.give()
	}
	if to.IsNil() {
		to.Set(reflect.MakeMapWithSize(to.Type(), len(values)))
	}
	all := make(fieldset, 0, len(values))
	for key, v := range values {
		if !allPlain(key) {
			return m.give()
		}
		element := reflect.New(to.Type().Elem()).Elem()
		if there := at(to, key); there.IsValid() {
			element.Set(there)
		}
		inner := m.merge(p.element, element, v)
		if !m.ok {
			return m.give()
		}
		to.SetMapIndex(reflect.ValueOf(key).Convert(to.Type().Key()), element)
		all = append(all, item{step: fieldNamed(key), member: true, children: inner.children})
	}
	sortItems(all)
	return found{children: all}
}

func sortItems(list []item) { slices.SortFunc(list, func(a, b item) int { return a.compare(&b.step) }) }

// mergeElements merges a list with keys into one that is empty, or that has all its elements in the same order.
func (m *merging) mergeElements(p *plan, to reflect.Value, from any) found {
	values, ok := from.([]any)
	if !ok || len(values) == 0 || to.Kind() != reflect.Slice {
		return m.give()
	}
	places, ok := p.places(to)
	if !ok {
		return m.give()
	}
	if len(places) == 0 {
		to.Set(reflect.MakeSlice(to.Type(), len(values), len(values)))
	}
	all := make(fieldset, 0, len(values))
	next := 0
	for i, v := range values {
		s, ok := p.stepOf(v)
		if !ok {
			return m.give()
		}
		place := i
		if len(places) > 0 {
			if place, ok = places[s.text]; !ok || place < next {
				return m.give()
			}
			next = place + 1
		}
		inner := m.merge(p.element, to.Index(place), v)
		if !m.ok {
			return m.give()
		}
		if merged, ok := p.stepTo(to.Index(place)); !ok || merged.text != s.text {
			return m.give()
		}
		all = append(all, item{step: s, member: true, children: inner.children})
	}
	sortItems(all)
	for i := range all[1:] {
		if all[i].compare(&all[i+1].step) == 0 {
			return m.give()
		}
	}
	return found{children: all}
}

// places says where the elements of a list are, by the text of their keys. No key may be there twice.
func (p *plan) places(list reflect.Value) (map[string]int, bool) {
	places := make(map[string]int, list.Len())
	for i := range list.Len() {
		s, ok := p.stepTo(list.Index(i))
		if !ok {
			return nil, false
		}
		places[s.text] = i
	}
	return places, len(places) == list.Len()
}

// stepOf is the path element of an element of a list in a configuration. It has all its keys, or defaults for them.
func (p *plan) stepOf(v any) (step, bool) {
	if len(p.keys) == 0 {
		return p.stepTo(reflect.ValueOf(v))
	}
	values, ok := v.(map[string]any)
	if !ok {
		return step{}, false
	}
	keys := make([]keyValue, 0, len(p.keys))
	for i := range p.keys {
		k := &p.keys[i]
		v, there := values[k.name]
		switch {
		case there && v != nil:
			s, ok := scalarOf(reflect.ValueOf(v))
			if !ok {
				return step{}, false
			}
			keys = append(keys, keyValue{name: k.name, value: s})
		case !there && k.fallback != nil:
			keys = append(keys, keyValue{name: k.name, value: *k.fallback})
		default:
			return step{}, false
		}
	}
	return step{text: keyText(keys), kind: keyStep, keys: keys}, true
}

// repeats tells whether a list somewhere in what is owned as a whole may have a key twice, which upstream refuses.
func (p *plan) repeats(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for i := range p.fields {
			if f := &p.fields[i]; f.plan.repeats(v[f.text[3:len(f.text)-1]]) {
				return true
			}
		}
		for _, element := range v {
			if p.element != nil && p.element.repeats(element) {
				return true
			}
		}
	case []any:
		seen := make(map[string]bool, len(v))
		for _, element := range v {
			if p.op == asList {
				s, ok := p.stepOf(element)
				if !ok || seen[s.text] {
					return true
				}
				seen[s.text] = true
			}
			if p.element != nil && p.element.repeats(element) {
				return true
			}
		}
	}
	return false
}

package managedfields

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// updater does what upstream's FieldManager.Update does, for the objects and entries that there usually are, by a compiled
// comparison. Everything else it leaves to upstream: it either does the whole work, to the byte, or changes nothing and says so.
type updater struct {
	types       *vocabulary
	convertor   runtime.ObjectConvertor
	defaulter   runtime.ObjectDefaulter
	gvk         schema.GroupVersionKind
	hub         schema.GroupVersion
	subresource string
	reset       fieldset // what writes leave alone
	never       fieldset // what nobody owns
	now         func() time.Time

	compileOnce sync.Once
	goType      reflect.Type
	plan        *plan

	// shape is of objects that are made of maps; nil for those with a Go type.
	shape *shape
}

// maxUpdaters is how many entries of updates there may be before upstream merges the oldest (DefaultMaxUpdateManagers).
const maxUpdaters = 10

// neverOwned are the fields that nobody owns (apimachinery/pkg/util/managedfields/internal/stripmeta.go).
func neverOwned() fieldset {
	metadata := []string{
		"clusterName", "creationTimestamp", "generation", "managedFields", "name", "namespace", "resourceVersion", "selfLink", "uid",
	}
	var children fieldset
	for _, name := range metadata {
		children = append(children, item{step: fieldNamed(name), member: true})
	}
	return fieldset{
		{step: fieldNamed("apiVersion"), member: true},
		{step: fieldNamed("kind"), member: true},
		{step: fieldNamed("metadata"), member: true, children: children},
	}
}

// fieldsetOf is a set of upstream's.
func fieldsetOf(set *fieldpath.Set) (fieldset, bool) {
	if set == nil || set.Empty() {
		return nil, true
	}
	text, err := set.ToJSON()
	if err != nil {
		return nil, false
	}
	return parseFields(string(text))
}

// entry is a decoded entry of managed fields.
type entry struct {
	*metav1.ManagedFieldsEntry
	set fieldset
}

// update returns false, and obj as it was, if upstream has to do it.
func (u *updater) update(live, obj runtime.Object, manager string) bool {
	from, err := meta.Accessor(live)
	if err != nil {
		return false
	}
	to, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	sent := to.GetManagedFields()
	entries, ok := u.decode(from.GetManagedFields(), sent)
	if !ok || !utf8.ValidString(manager) {
		return false
	}
	to.SetManagedFields(nil)
	if len(entries) == 0 && from.GetUID() != "" {
		return true // it is not tracked, and is not until somebody applies
	}
	entries, v := u.change(live, obj, entries, manager)
	switch v {
	case leave:
		to.SetManagedFields(sent)
		return false
	case invalid:
		to.SetManagedFields(from.GetManagedFields())
		return true
	}
	if u.shape == nil || !setEntries(obj, entries) {
		to.SetManagedFields(encode(entries))
	}
	return true
}

// decode reads the entries that count: those sent, unless they are none or come through a subresource; none if they are to be
// reset.
func (u *updater) decode(live, sent []metav1.ManagedFieldsEntry) ([]entry, bool) {
	if u.subresource != "" {
		return u.decodeAll(live)
	}
	if sent != nil && len(sent) == 0 || len(sent) == 1 && sent[0] == (metav1.ManagedFieldsEntry{}) {
		return nil, true
	}
	if len(sent) == 0 {
		sent = live
	}
	return u.decodeAll(sent)
}

func (u *updater) decodeAll(list []metav1.ManagedFieldsEntry) ([]entry, bool) {
	entries := make([]entry, len(list), len(list)+1)
	version := u.gvk.GroupVersion().String()
	for i := range list {
		e := &list[i]
		known := e.Operation == metav1.ManagedFieldsOperationApply || e.Operation == metav1.ManagedFieldsOperationUpdate
		if !known || e.APIVersion != version || e.FieldsType != "FieldsV1" || e.FieldsV1 == nil ||
			!utf8.ValidString(e.Manager) || !utf8.ValidString(e.Subresource) {
			return nil, false
		}
		set, ok := parseFields(e.FieldsV1.GetRawString())
		if !ok || len(set) == 0 {
			return nil, false
		}
		for _, other := range entries[:i] {
			if compareEntries(other.ManagedFieldsEntry, e) == 0 {
				return nil, false
			}
		}
		entries[i] = entry{ManagedFieldsEntry: e, set: set}
	}
	return entries, true
}

// compareEntries compares what entries of one version are known by.
func compareEntries(a, b *metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		cmp.Compare(a.Operation, b.Operation), strings.Compare(a.Manager, b.Manager), strings.Compare(a.Subresource, b.Subresource),
	)
}

// change is what a write does to the entries: it takes away what it changes, and gives that to its own.
func (u *updater) change(live, obj runtime.Object, entries []entry, manager string) ([]entry, verdict) {
	found, v := u.compare(live, obj, entries)
	if v != done {
		return nil, v
	}
	changed := without(union(found.modified, found.added), u.reset)
	removed := without(found.removed, u.reset)
	kept := entries[:0]
	for _, e := range entries {
		if left := difference(difference(e.set, changed), removed); !same(left, e.set) {
			e.replace(left)
		}
		if len(e.set) > 0 {
			kept = append(kept, e)
		}
	}
	if own := difference(changed, u.never); len(own) > 0 {
		kept = u.give(kept, own, manager)
	}
	updaters := 0
	for _, e := range kept {
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			updaters++
		}
	}
	if updaters > maxUpdaters {
		return nil, leave
	}
	return kept, done
}

// compare finds out what a write changes.
func (u *updater) compare(live, obj runtime.Object, entries []entry) (comparison, verdict) {
	if u.shape != nil {
		return u.compareUnstructured(live, obj, entries)
	}
	before, err := u.convertor.ConvertToVersion(live, u.gvk.GroupVersion())
	if err != nil {
		return comparison{}, leave
	}
	after, err := u.convertor.ConvertToVersion(obj, u.gvk.GroupVersion())
	if err != nil {
		return comparison{}, leave
	}
	p := u.compiled(after)
	if p == nil || reflect.TypeOf(before) != u.goType || reflect.TypeOf(after) != u.goType {
		return comparison{}, leave
	}
	for _, e := range entries {
		if !p.fits(e.set) {
			return comparison{}, leave
		}
	}
	found, ok := compareObjects(p, before, after)
	if !ok {
		return comparison{}, leave
	}
	return found, done
}

// compareUnstructured is compare for objects that are made of maps. They come in the version that they are written in.
func (u *updater) compareUnstructured(live, obj runtime.Object, entries []entry) (comparison, verdict) {
	before, ok1 := live.(*unstructured.Unstructured)
	after, ok2 := obj.(*unstructured.Unstructured)
	if !ok1 || !ok2 || before.GroupVersionKind() != u.gvk || after.GroupVersionKind() != u.gvk {
		return comparison{}, leave
	}
	for _, e := range entries {
		if !u.shape.fits(e.set) {
			return comparison{}, leave
		}
	}
	return compareMaps(u.shape, before.Object, after.Object)
}

// give adds fields to what a manager owns by updates.
func (u *updater) give(entries []entry, own fieldset, manager string) []entry {
	if manager == "" {
		manager = "unknown"
	}
	mine := entry{ManagedFieldsEntry: &metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: u.gvk.GroupVersion().String(),
		Time: &metav1.Time{Time: u.now().UTC()}, FieldsType: "FieldsV1", Subresource: u.subresource,
	}}
	i := slices.IndexFunc(entries, func(e entry) bool { return compareEntries(e.ManagedFieldsEntry, mine.ManagedFieldsEntry) == 0 })
	if i < 0 {
		entries = append(entries, mine)
		i = len(entries) - 1
	} else {
		own = union(own, entries[i].set)
		entries[i] = mine
	}
	entries[i].replace(own)
	return entries
}

// replace gives an entry another set. The entry that it was read from belongs to somebody else.
func (e *entry) replace(set fieldset) {
	e.set = set
	if len(set) == 0 {
		return
	}
	copied := *e.ManagedFieldsEntry
	text := set.append(make([]byte, 0, set.size(false)))
	copied.FieldsV1 = metav1.NewFieldsV1(unsafe.String(unsafe.SliceData(text), len(text))) // which nobody else has
	e.ManagedFieldsEntry = &copied
}

// inOrder sorts entries as upstream does: by operation, time in seconds, and name.
func inOrder(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)),
			strings.Compare(a.Manager, b.Manager), strings.Compare(a.Subresource, b.Subresource),
		)
	})
}

// encode writes entries.
func encode(entries []entry) []metav1.ManagedFieldsEntry {
	if len(entries) == 0 {
		return nil
	}
	inOrder(entries)
	list := make([]metav1.ManagedFieldsEntry, len(entries))
	for i, e := range entries {
		list[i] = *e.ManagedFieldsEntry
	}
	return list
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// compiled is the plan for the objects of the version; nil if there is none.
func (u *updater) compiled(obj runtime.Object) *plan {
	u.compileOnce.Do(func() {
		of, err := u.types.Type(u.gvk)
		if err != nil || of == nil {
			return
		}
		t := reflect.TypeOf(obj)
		if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return
		}
		u.goType = t
		u.plan = u.types.plan(u.gvk, t, of)
	})
	return u.plan
}

// planID says what a plan is for.
type planID struct {
	gvk    schema.GroupVersionKind
	goType reflect.Type
}

// plan returns the plan for the objects of a version, which are of a Go type. It is compiled once.
func (v *vocabulary) plan(gvk schema.GroupVersionKind, t reflect.Type, of *typed.ParseableType) *plan {
	id := planID{gvk, t}
	if known, ok := v.plans.Load(id); ok {
		return known.(*plan)
	}
	known, _ := v.plans.LoadOrStore(id, compile(t, of))
	return known.(*plan)
}

// fits tells whether a set is of the schema that the plan is of. If something has become atomic since, upstream makes the set
// fit (ReconcileFieldSetWithSchema).
func (p *plan) fits(set fieldset) bool {
	for i := range set {
		s := &set[i]
		if len(s.children) == 0 {
			continue
		}
		below := p.below(&s.step)
		if below == nil || below.op == leaf || !below.fits(s.children) {
			return false
		}
	}
	return true
}

// below is the plan for what is at a step, or nil.
func (p *plan) below(s *step) *plan {
	switch p.op {
	case asMap, asList:
		return p.element
	case asStruct:
		i, ok := slices.BinarySearchFunc(p.fields, s, func(f fieldPlan, s *step) int { return f.compare(s) })
		if ok {
			return p.fields[i].plan
		}
	}
	return nil
}

package managedfields

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// comparison is what upstream's typed.Comparison is: the fields that an object has, that another one did not have, had
// otherwise, or had and this one has not.
type comparison struct {
	added, modified, removed fieldset
}

// compareObjects compares two objects, both pointers to the type of the plan. It returns false if upstream has to do it.
func compareObjects(p *plan, before, after any) (comparison, bool) {
	w := walks.Get().(*walk)
	w.ok = true
	f := w.compare(p, reflect.ValueOf(before), reflect.ValueOf(after))
	ok := w.ok
	w.leave()
	return comparison{added: f.added.children, modified: f.modified.children, removed: f.removed.children}, ok
}

// walks are for comparisons to come: a pod's takes 4 KB on its way.
var walks = sync.Pool{New: func() any { return &walk{added: make([]item, 0, 48)} }}

// leave gives a walk back. It keeps nothing alive of the objects, nor lists that became large.
func (w *walk) leave() {
	for _, list := range []*[]item{&w.added, &w.modified, &w.removed} {
		if cap(*list) > keptItems {
			return
		}
		clear((*list)[:cap(*list)])
		*list = (*list)[:0]
	}
	if cap(w.keys) > keptItems {
		return
	}
	clear(w.keys[:cap(w.keys)])
	w.keys = w.keys[:0]
	walks.Put(w)
}

// keptItems is how long a list may have become in a walk that is used again.
const keptItems = 1 << 10

// finding is what a comparison finds at and below a path.
type finding struct {
	added, modified, removed found
}

type found struct {
	member   bool
	children fieldset
}

// walk is a comparison that is going on. A value that is not valid (reflect.Value.IsValid) stands for a field that is not there.
type walk struct {
	ok bool // false: upstream has to do it
	// What is found below the paths on the way, each waiting for the end of its siblings. The sets are cut out of it.
	added, modified, removed []item
	keys                     []string
}

func (w *walk) give() finding {
	w.ok = false
	return finding{}
}

// state is what there is of a value.
type state uint8

const (
	absent state = iota
	null
	present
)

// look finds out what there is of a value, and follows a pointer.
func look(v reflect.Value) (reflect.Value, state) {
	if !v.IsValid() {
		return v, absent
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v, null
		}
		return v.Elem(), present
	case reflect.Map, reflect.Slice:
		if v.IsNil() {
			return v, null
		}
	}
	return v, present
}

// compare compares two values, at least one of which is there.
func (w *walk) compare(p *plan, before, after reflect.Value) finding {
	if !w.ok {
		return finding{}
	}
	switch p.op {
	case leaf, ownForm:
		return w.compareLeaf(p, before, after)
	case asStruct, asMap, asList:
	default:
		return w.give()
	}
	l, lState := look(before)
	r, rState := look(after)
	if p.ambiguous && (lState == null || rState == null) {
		return w.give()
	}
	if lState == present && rState == present && !p.doubtful && l.CanAddr() && r.CanAddr() && p.same != nil &&
		p.same(l.Addr().UnsafePointer(), r.Addr().UnsafePointer()) {
		return finding{} // most of what an update or a patch sends is what is there
	}
	a, m, d := len(w.added), len(w.modified), len(w.removed)
	var empty bool
	switch p.op {
	case asStruct:
		empty = w.compareFields(p, only(l, lState), only(r, rState))
	case asMap:
		empty = w.compareEntries(p, only(l, lState), only(r, rState))
	default:
		empty = w.compareElements(p, only(l, lState), only(r, rState))
	}
	var f finding
	f.added.member, f.removed.member = lState == absent, rState == absent
	// What is empty on both sides is a leaf, so that null and empty are not the same.
	f.modified.member = empty && lState != absent && rState != absent && lState != rState
	f.added.children, w.added = cut(w.added, a)
	f.modified.children, w.modified = cut(w.modified, m)
	f.removed.children, w.removed = cut(w.removed, d)
	return f
}

// only is a value if there is something in it to look at.
func only(v reflect.Value, s state) reflect.Value {
	if s != present {
		return reflect.Value{}
	}
	return v
}

// cut takes the end of a list off.
func cut(list []item, from int) (fieldset, []item) {
	if len(list) == from {
		return nil, list
	}
	return slices.Clone(fieldset(list[from:])), list[:from]
}

// note keeps what was found below a step.
func (w *walk) note(s step, f finding) {
	w.added = f.added.appendTo(w.added, s)
	w.modified = f.modified.appendTo(w.modified, s)
	w.removed = f.removed.appendTo(w.removed, s)
}

func (f found) appendTo(list []item, s step) []item {
	if !f.member && len(f.children) == 0 {
		return list
	}
	return append(list, item{step: s, member: f.member, children: f.children})
}

// compareLeaf compares what is owned as a whole.
func (w *walk) compareLeaf(p *plan, before, after reflect.Value) finding {
	var f finding
	if p.op == ownForm && (!scalarForm(p, before) || !scalarForm(p, after)) {
		return w.give()
	}
	if p.doubtful && (something(before) || something(after)) {
		return w.give()
	}
	switch {
	case !before.IsValid():
		f.added.member = true
	case !after.IsValid():
		f.removed.member = true
	default:
		f.modified.member = !sameLeaf(before, after)
	}
	return f
}

// scalarForm tells whether a value that converts itself does so to a scalar.
func scalarForm(p *plan, v reflect.Value) bool {
	if !v.IsValid() || alwaysScalar(v) {
		return true
	}
	form, err := p.convert.ToUnstructured(v)
	if err != nil {
		return false
	}
	switch form.(type) {
	case string, int64, float64, bool:
		return true
	case nil:
		return !p.ambiguous
	}
	return false
}

// alwaysScalar tells whether a value is of one of the types of which most are, and that are scalars for certain. Asking a value for
// its form costs as much as comparing ten others.
func alwaysScalar(v reflect.Value) bool {
	switch v.Type() {
	case reflect.TypeFor[resource.Quantity]():
		return true
	case reflect.TypeFor[intstr.IntOrString]():
		kind := intstr.Type(v.Field(0).Int())
		return kind == intstr.Int || kind == intstr.String
	}
	return false
}

// something tells whether a value has anything in it that could be invalid.
func something(v reflect.Value) bool {
	_, s := look(v)
	return s == present
}

// sameLeaf compares values as upstream does, which can take two for different that are equal as objects: null and empty.
func sameLeaf(before, after reflect.Value) bool {
	switch before.Kind() {
	case reflect.String:
		if before.Type() == after.Type() && !value.TypeReflectEntryOf(before.Type()).CanConvertToUnstructured() {
			return before.String() == after.String()
		}
	case reflect.Bool:
		return before.Bool() == after.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return before.Int() == after.Int()
	}
	if l, ok := momentOf(before); ok {
		if r, ok := momentOf(after); ok {
			return l == r
		}
	}
	if reflect.DeepEqual(before.Interface(), after.Interface()) {
		return true
	}
	l, lErr := value.NewValueReflect(pointerTo(before))
	r, rErr := value.NewValueReflect(pointerTo(after))
	return lErr == nil && rErr == nil && value.Equals(l, r)
}

// moment is a time, as exactly as JSON has it.
type moment struct {
	second int64
	micro  int
}

// momentOf reads one of apimachinery's times. It leaves zero to others, which is null in JSON. Without it, renewing a lease would
// spend a twentieth of its time on comparing two times by way of JSON.
func momentOf(v reflect.Value) (m moment, ok bool) {
	if v.Kind() != reflect.Pointer {
		if !v.CanAddr() {
			return moment{}, false
		}
		v = v.Addr()
	}
	switch t := v.Interface().(type) {
	case *metav1.MicroTime:
		if t == nil || t.IsZero() {
			return moment{}, false
		}
		return moment{t.Unix(), t.Nanosecond() / 1000}, true
	case *metav1.Time:
		if t == nil || t.IsZero() {
			return moment{}, false
		}
		return moment{second: t.Unix()}, true
	}
	return moment{}, false
}

// pointerTo is a pointer to a value, or to a copy of it.
func pointerTo(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		return v.Interface()
	}
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Interface()
}

// compareFields compares structs, and reports whether both are empty.
func (w *walk) compareFields(p *plan, before, after reflect.Value) (empty bool) {
	empty = true
	for i := range p.fields {
		f := &p.fields[i]
		l, r := f.of(before), f.of(after)
		if !l.IsValid() && !r.IsValid() {
			continue
		}
		empty = false
		w.note(f.step, w.compare(f.plan, l, r))
	}
	return empty
}

// of is the field of a struct, unless it is left out.
func (f *fieldPlan) of(v reflect.Value) reflect.Value {
	if !v.IsValid() {
		return v
	}
	if f.index >= 0 {
		v = v.Field(f.index)
	} else {
		v = f.entry.GetFrom(v)
	}
	if f.omitted(v) {
		return reflect.Value{}
	}
	return v
}

// omitted tells whether a field is left out of JSON.
func (f *fieldPlan) omitted(v reflect.Value) bool {
	if f.omitEmpty {
		switch v.Kind() {
		case reflect.String, reflect.Slice, reflect.Map:
			return v.Len() == 0
		case reflect.Pointer:
			return v.IsNil()
		}
	}
	return f.entry.CanOmit(v)
}

// compareEntries compares maps, and reports whether both are empty.
func (w *walk) compareEntries(p *plan, before, after reflect.Value) (empty bool) {
	from := len(w.keys)
	defer func() { w.keys = w.keys[:from] }()
	for _, m := range []reflect.Value{before, after} {
		if m.IsValid() {
			for entries := m.MapRange(); entries.Next(); {
				w.keys = append(w.keys, entries.Key().String())
			}
		}
	}
	keys := w.keys[from:]
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, key := range keys {
		if !allPlain(key) {
			w.ok = false
			break
		}
		w.note(fieldNamed(key), w.compare(p.element, at(before, key), at(after, key)))
	}
	return len(keys) == 0
}

func at(m reflect.Value, key string) reflect.Value {
	if !m.IsValid() {
		return m
	}
	k := reflect.ValueOf(key)
	if t := m.Type().Key(); t != k.Type() {
		k = k.Convert(t)
	}
	return m.MapIndex(k)
}

// element is an element of a list, by its key.
type element struct {
	step
	value reflect.Value
}

// compareElements compares lists whose elements have keys, or are keys, and reports whether both are empty.
func (w *walk) compareElements(p *plan, before, after reflect.Value) (empty bool) {
	l, r := w.elements(p, before), w.elements(p, after)
	empty = len(l) == 0 && len(r) == 0
	for w.ok && (len(l) > 0 || len(r) > 0) {
		var ls, rs []element
		switch c := first(l, r); {
		case c < 0:
			ls, l = alike(l)
		case c > 0:
			rs, r = alike(r)
		default:
			ls, l = alike(l)
			rs, r = alike(r)
		}
		w.compareAlike(p, ls, rs)
	}
	return empty
}

func first(l, r []element) int {
	switch {
	case len(r) == 0:
		return -1
	case len(l) == 0:
		return 1
	}
	return l[0].compare(&r[0].step)
}

// alike takes the elements with the same key off a sorted list. There should be just one, but nothing keeps clients from
// sending more.
func alike(list []element) (same, rest []element) {
	n := 1
	for n < len(list) && list[n].compare(&list[0].step) == 0 {
		n++
	}
	return list[:n], list[n:]
}

// compareAlike compares the elements of two lists that have the same key. Duplicates are owned together, as one.
func (w *walk) compareAlike(p *plan, l, r []element) {
	var f finding
	switch {
	case len(l) <= 1 && len(r) <= 1:
		f = w.compare(p.element, valueOf(l), valueOf(r))
	case len(l) >= 2 && len(r) >= 2:
		f.modified.member = !slices.EqualFunc(l, r, func(a, b element) bool { return sameLeaf(a.value, b.value) })
	case len(l) >= 2:
		if len(r) != 0 {
			f = w.compare(p.element, reflect.Value{}, r[0].value)
		}
		f.removed.member = true
	default:
		if len(l) != 0 {
			f = w.compare(p.element, l[0].value, reflect.Value{})
		}
		f.added.member = true
	}
	if len(l) > 0 {
		w.note(l[0].step, f)
	} else {
		w.note(r[0].step, f)
	}
}

func valueOf(list []element) reflect.Value {
	if len(list) == 0 {
		return reflect.Value{}
	}
	return list[0].value
}

// elements are the elements of a list, sorted by key.
func (w *walk) elements(p *plan, list reflect.Value) []element {
	if !list.IsValid() || list.Len() == 0 {
		return nil
	}
	elements := make([]element, list.Len())
	for i := range elements {
		e := &elements[i]
		e.value = list.Index(i)
		var ok bool
		if e.step, ok = p.stepTo(e.value); !ok {
			w.ok = false
			return nil
		}
	}
	slices.SortStableFunc(elements, func(a, b element) int { return a.compare(&b.step) })
	return elements
}

// stepTo is the path element of an element of a list.
func (p *plan) stepTo(v reflect.Value) (step, bool) {
	if len(p.keys) == 0 {
		s, ok := scalarOf(v)
		var text strings.Builder
		text.WriteString(`"v:`)
		s.write(&text)
		text.WriteString(`"`)
		return step{text: text.String(), kind: valueStep, keys: []keyValue{{value: s}}}, ok
	}
	keys := make([]keyValue, 0, len(p.keys))
	for i := range p.keys {
		k := &p.keys[i]
		field := k.entry.GetFrom(v)
		switch {
		case !k.entry.CanOmit(field):
			s, ok := scalarOf(field)
			if !ok {
				return step{}, false
			}
			keys = append(keys, keyValue{name: k.name, value: s})
		case k.fallback != nil:
			keys = append(keys, keyValue{name: k.name, value: *k.fallback})
		}
	}
	return step{text: keyText(keys), kind: keyStep, keys: keys}, len(keys) > 0
}

func keyText(keys []keyValue) string {
	var text strings.Builder
	text.WriteString(`"k:{`)
	for i, k := range keys {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(`\"` + k.name + `\":`)
		k.value.write(&text)
	}
	text.WriteString(`}"`)
	return text.String()
}

func (s scalar) write(text *strings.Builder) {
	switch {
	case s.kind == stringScalar:
		text.WriteString(`\"`)
		text.WriteString(s.text)
		text.WriteString(`\"`)
	case s.kind == boolScalar:
		text.WriteString(strconv.FormatBool(s.number == 1))
	default:
		text.WriteString(strconv.FormatInt(s.number, 10))
	}
}

// scalarOf is a value as a key, and false if upstream has to see to it.
func scalarOf(v reflect.Value) (scalar, bool) {
	v, s := look(v)
	if s != present {
		return scalar{}, false
	}
	switch v.Kind() {
	case reflect.String:
		return scalar{kind: stringScalar, text: v.String()}, allPlain(v.String())
	case reflect.Bool:
		if v.Bool() {
			return scalar{kind: boolScalar, number: 1}, true
		}
		return scalar{kind: boolScalar}, true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return scalar{number: v.Int()}, small(v.Int())
	}
	return scalar{}, false
}

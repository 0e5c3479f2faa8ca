package managedfields

import (
	"reflect"
	"slices"
	"strings"

	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// plan is how values of a Go type are compared that stand where the schema has a certain type. It is compiled once for each
// kind in each version, out of the Go type and of what typeschema says. Upstream does the same work over for every object, with
// an interface value for each field (structured-merge-diff, typed/compare.go and value).
type plan struct {
	op     operation
	goType reflect.Type // of a struct or a list
	// ambiguous says that the schema allows several sorts of values here, so that null may be of any of them.
	ambiguous bool
	convert   *value.TypeReflectCacheEntry // for types that say themselves what they are in JSON

	fields  []fieldPlan // of a struct, sorted by name
	element *plan       // of a map or a list
	keys    []keyPlan   // of a list's elements; none: the elements are the keys

	// doubtful says that a value can be invalid for upstream, which then gives up on the whole object. Leaves are not looked
	// into, so those are left to upstream.
	doubtful bool
	// same tells, of a struct or a list, whether two are the same in memory; nil if that is not worth finding out.
	same sameness
}

type operation uint8

const (
	unknown operation = iota // left to upstream
	leaf                     // owned as a whole: scalars and what is atomic
	ownForm                  // a leaf if it converts to a scalar
	asStruct
	asMap
	asList
)

type fieldPlan struct {
	step
	entry *value.FieldCacheEntry
	plan  *plan
	index int // of the field in the struct; -1 if it is in an embedded one

	omitEmpty bool // and nothing else, of a field of the struct itself
}

// keyPlan is a field by which elements of a list are told apart.
type keyPlan struct {
	name     string
	entry    *value.FieldCacheEntry
	zero     reflect.Value
	fallback *scalar // if the element does not have the field
}

// compiler makes plans.
type compiler struct {
	schema *smd.Schema
	named  map[planKey]*plan // so that types may contain themselves
	all    []*plan
}

type planKey struct {
	goType       reflect.Type
	name         string
	relationship smd.ElementRelationship
}

// compile returns the plan for objects of a Go type.
func compile(t reflect.Type, of *typed.ParseableType) *plan {
	c := &compiler{schema: of.Schema, named: map[planKey]*plan{}}
	root, same := c.plan(t, of.TypeRef), equalities{}
	for _, p := range c.all {
		p.doubtful = doubtful(p, map[*plan]bool{})
		if p.goType != nil && !p.doubtful {
			p.same = same.of(p.goType)
		}
	}
	return root
}

// plan compiles a type, a named one once.
func (c *compiler) plan(t reflect.Type, ref smd.TypeRef) *plan {
	p := &plan{}
	if ref.NamedType != nil {
		key := planKey{goType: t, name: *ref.NamedType}
		if ref.ElementRelationship != nil {
			key.relationship = *ref.ElementRelationship
		}
		if done := c.named[key]; done != nil {
			return done
		}
		c.named[key] = p
	}
	c.all = append(c.all, p)
	c.fill(p, t, ref)
	return p
}

func (c *compiler) fill(p *plan, t reflect.Type, ref smd.TypeRef) {
	atom, ok := c.schema.Resolve(ref)
	if !ok {
		return
	}
	sorts := 0
	for _, there := range []bool{atom.Scalar != nil, atom.List != nil, atom.Map != nil} {
		if there {
			sorts++
		}
	}
	p.ambiguous = sorts > 1
	if entry := value.TypeReflectEntryOf(t); entry.CanConvertToUnstructured() {
		p.convert, p.op = entry, ownForm
		if alwaysLeaf(atom) {
			p.op, p.ambiguous = leaf, false
		}
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if entry := value.TypeReflectEntryOf(t); entry.CanConvertToUnstructured() || t.Kind() == reflect.Pointer {
			return
		}
	}
	if t.Kind() == reflect.Struct || t.Kind() == reflect.Slice {
		p.goType = t
	}
	switch t.Kind() {
	case reflect.Struct:
		c.fillStruct(p, t, atom.Map)
	case reflect.Map:
		c.fillMap(p, t, atom.Map)
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			c.fillList(p, t, atom.List)
			return
		}
		p.fillScalar(atom.Scalar, smd.String)
	case reflect.String:
		p.fillScalar(atom.Scalar, smd.String)
	case reflect.Bool:
		p.fillScalar(atom.Scalar, smd.Boolean)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16,
		reflect.Uint32, reflect.Float32, reflect.Float64:
		p.fillScalar(atom.Scalar, smd.Numeric)
	}
}

// alwaysLeaf tells whether a value is a leaf whatever it is.
func alwaysLeaf(atom smd.Atom) bool {
	return (atom.List == nil || atom.List.ElementRelationship == smd.Atomic) &&
		(atom.Map == nil || atom.Map.ElementRelationship == smd.Atomic)
}

func (p *plan) fillScalar(s *smd.Scalar, is smd.Scalar) {
	if s != nil && (*s == is || *s == smd.Untyped) {
		p.op = leaf
	}
}

func (c *compiler) fillStruct(p *plan, t reflect.Type, m *smd.Map) {
	if m == nil {
		return
	}
	p.op = asStruct
	for _, entry := range value.TypeReflectEntryOf(t).OrderedFields() {
		f := fieldPlan{step: fieldNamed(entry.JsonName), entry: entry, plan: &plan{}, index: ownField(t, entry.JsonName)}
		f.omitEmpty = f.index >= 0 && strings.HasSuffix(t.Field(f.index).Tag.Get("json"), ",omitempty")
		fieldType := entry.GetFrom(reflect.Zero(t)).Type()
		ref := m.ElementType
		if declared, ok := m.FindField(entry.JsonName); ok {
			ref = declared.Type
		}
		if ref != (smd.TypeRef{}) {
			f.plan = c.plan(fieldType, ref)
		}
		p.fields = append(p.fields, f)
	}
	p.atomic(m.ElementRelationship)
}

// ownField is the index of the field of a struct that has a name in JSON, or -1 if it is not the struct's own.
func ownField(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return i
		}
	}
	return -1
}

func fieldNamed(name string) step { return step{text: `"f:` + name + `"`} }

func (c *compiler) fillMap(p *plan, t reflect.Type, m *smd.Map) {
	if m == nil || t.Key().Kind() != reflect.String || len(m.Fields) > 0 || m.ElementType == (smd.TypeRef{}) {
		return
	}
	p.op = asMap
	p.element = c.plan(t.Elem(), m.ElementType)
	p.atomic(m.ElementRelationship)
}

func (c *compiler) fillList(p *plan, t reflect.Type, l *smd.List) {
	if l == nil {
		return
	}
	p.op = asList
	p.element = c.plan(t.Elem(), l.ElementType)
	if l.ElementRelationship == smd.Atomic {
		p.atomic(smd.Atomic)
		return
	}
	if l.ElementRelationship != smd.Associative || p.element.op == unknown {
		p.op = unknown
		return
	}
	if len(l.Keys) == 0 {
		if p.element.op != leaf || !isScalar(t.Elem()) {
			p.op = unknown
		}
		return
	}
	p.op = unknown
	element := t.Elem()
	if element.Kind() != reflect.Struct || value.TypeReflectEntryOf(element).CanConvertToUnstructured() {
		return
	}
	atom, ok := c.schema.Resolve(l.ElementType)
	if !ok || atom.Map == nil {
		return
	}
	for _, name := range l.Keys {
		key, ok := keyOf(element, atom.Map, name)
		if !ok {
			return
		}
		p.keys = append(p.keys, key)
	}
	slices.SortFunc(p.keys, func(a, b keyPlan) int { return strings.Compare(a.name, b.name) })
	p.op = asList
}

func keyOf(t reflect.Type, m *smd.Map, name string) (keyPlan, bool) {
	key := keyPlan{name: name, entry: value.TypeReflectEntryOf(t).Fields()[name]}
	if key.entry == nil || !allPlain(name) {
		return key, false
	}
	key.zero = key.entry.GetFrom(reflect.Zero(t))
	of := key.zero.Type()
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if !isScalar(of) {
		return key, false
	}
	field, _ := m.FindField(name)
	if field.Default != nil {
		fallback, ok := scalarOf(reflect.ValueOf(field.Default))
		if !ok {
			return key, false
		}
		key.fallback = &fallback
	}
	return key, true
}

func isScalar(t reflect.Type) bool {
	if value.TypeReflectEntryOf(t).CanConvertToUnstructured() {
		return false
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return true
	}
	return false
}

// atomic makes a leaf of the plan, if that is how its elements belong together. What it has compiled stays, for doubtful.
func (p *plan) atomic(relationship smd.ElementRelationship) {
	if relationship == smd.Atomic {
		p.op = leaf
	}
}

// doubtful tells whether there is something below a plan that upstream may find invalid.
func doubtful(p *plan, seen map[*plan]bool) bool {
	if seen[p] {
		return false
	}
	seen[p] = true
	if p.op == unknown {
		return true
	}
	if p.element != nil && (len(p.keys) > 0 && !p.alwaysKeyed() || doubtful(p.element, seen)) {
		return true
	}
	return slices.ContainsFunc(p.fields, func(f fieldPlan) bool { return doubtful(f.plan, seen) })
}

// alwaysKeyed tells whether every element of a list has a key.
func (p *plan) alwaysKeyed() bool {
	return slices.ContainsFunc(p.keys, func(k keyPlan) bool {
		return k.fallback != nil || !k.entry.CanOmit(k.zero)
	})
}

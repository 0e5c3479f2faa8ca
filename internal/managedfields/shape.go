package managedfields

import (
	"reflect"
	"slices"
	"strings"

	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// shape is to objects without a Go type, custom resources, what plan is to others: what their schema says of the values at a place.
// It is compiled once for each version of a definition.
type shape struct {
	scalar smd.Scalar // "" for none
	list   *listShape
	object *objectShape
}

type objectShape struct {
	atomic  bool
	fields  map[string]*fieldShape
	element *shape // of all other fields; nil: there may be none
}

type fieldShape struct {
	step
	shape *shape
}

type listShape struct {
	atomic bool
	keys   []shapeKey // none: the elements are the keys
	// foreign says that upstream has to tell the elements apart.
	foreign bool
	element *shape
}

// shapeKey is a field by which elements are told apart.
type shapeKey struct {
	name     string
	fallback *scalar // if the element does not have the field
}

// sort is what a value is, of what a shape allows.
type sort uint8

const (
	noSort sort = iota
	scalarSort
	listSort
	objectSort
)

// only is the sort of values that a shape allows, or noSort if there are several.
func (s *shape) only() sort {
	switch {
	case s.object != nil && s.scalar == "" && s.list == nil:
		return objectSort
	case s.scalar != "" && s.object == nil && s.list == nil:
		return scalarSort
	case s.list != nil && s.object == nil && s.scalar == "":
		return listSort
	}
	return noSort
}

// shaper compiles shapes.
type shaper struct {
	schema *smd.Schema
	named  map[shapeName]*shape // so that types may contain themselves
}

type shapeName struct {
	name         string
	relationship smd.ElementRelationship
}

// shapeOf is the shape of an object's type.
func shapeOf(object *typed.TypedValue) *shape {
	c := &shaper{schema: object.Schema(), named: map[shapeName]*shape{}}
	return c.shape(object.TypeRef())
}

func (c *shaper) shape(ref smd.TypeRef) *shape {
	s := &shape{}
	if ref.NamedType != nil {
		name := shapeName{name: *ref.NamedType}
		if ref.ElementRelationship != nil {
			name.relationship = *ref.ElementRelationship
		}
		if done := c.named[name]; done != nil {
			return done
		}
		c.named[name] = s
	}
	atom, ok := c.schema.Resolve(ref)
	if !ok {
		return s // of no sort: left to upstream
	}
	if atom.Scalar != nil {
		s.scalar = *atom.Scalar
	}
	if atom.List != nil {
		s.list = c.listShape(atom.List)
	}
	if atom.Map != nil {
		s.object = c.objectShape(atom.Map)
	}
	return s
}

func (c *shaper) objectShape(m *smd.Map) *objectShape {
	o := &objectShape{atomic: m.ElementRelationship == smd.Atomic, fields: make(map[string]*fieldShape, len(m.Fields))}
	for i := range m.Fields {
		f := &m.Fields[i]
		o.fields[f.Name] = &fieldShape{step: fieldNamed(f.Name), shape: c.shape(f.Type)}
	}
	if !isNone(m.ElementType) {
		o.element = c.shape(m.ElementType)
	}
	return o
}

func isNone(ref smd.TypeRef) bool { return ref == smd.TypeRef{} }

func (c *shaper) listShape(l *smd.List) *listShape {
	s := &listShape{atomic: l.ElementRelationship == smd.Atomic, element: c.shape(l.ElementType)}
	s.foreign = !s.atomic && l.ElementRelationship != smd.Associative
	for _, name := range l.Keys {
		key, ok := shapeKeyOf(c.schema, l, name)
		s.foreign = s.foreign || !ok
		s.keys = append(s.keys, key)
	}
	slices.SortFunc(s.keys, func(a, b shapeKey) int { return strings.Compare(a.name, b.name) })
	return s
}

func shapeKeyOf(schema *smd.Schema, l *smd.List, name string) (shapeKey, bool) {
	key := shapeKey{name: name}
	atom, ok := schema.Resolve(l.ElementType)
	if !ok || atom.Map == nil || !allPlain(name) {
		return key, false
	}
	field, _ := atom.Map.FindField(name)
	if field.Default == nil {
		return key, true
	}
	fallback, ok := scalarOf(reflect.ValueOf(field.Default))
	key.fallback = &fallback
	return key, ok
}

// at is the field of a name; nil if there may be none.
func (o *objectShape) at(name string) (step, *shape) {
	if f := o.fields[name]; f != nil {
		return f.step, f.shape
	}
	return fieldNamed(name), o.element
}

// fits tells whether a set is of the schema that the shape is of.
func (s *shape) fits(set fieldset) bool {
	for i := range set {
		it := &set[i]
		if len(it.children) == 0 {
			continue
		}
		below := s.below(&it.step)
		if below == nil || !below.fits(it.children) {
			return false
		}
	}
	return true
}

// below is the shape of what is at a step, or nil.
func (s *shape) below(at *step) *shape {
	if at.kind != fieldStep {
		if s.list == nil || s.list.atomic {
			return nil
		}
		return s.list.element
	}
	if s.object == nil || s.object.atomic {
		return nil
	}
	_, below := s.object.at(at.text[3 : len(at.text)-1])
	return below
}

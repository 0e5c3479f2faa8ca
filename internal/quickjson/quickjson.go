// Package quickjson reads and writes the JSON of API objects in a fraction of the time that general decoders and encoders take.
//
// [Unmarshal] and [UnmarshalMap] give what sigs.k8s.io/json gives (case-sensitive names, integers kept as such) for documents that
// there is nothing to say about. They give up, by returning false, on everything else: errors, fields that are not known or there
// twice, numbers and escapes of unusual sorts. Whoever calls them asks sigs.k8s.io/json then, which finds the words. What was
// filled meanwhile must be thrown away.
//
// [Marshal] gives, to the byte, what encoding/json gives.
//
// What has to be known of a Go type is worked out once (a plan), and there is one pass over a document. Values are reached by
// pointers that are computed (package unsafe): going through reflect takes about as long as all the rest. A pointer is to a value of
// the type that a plan is of, whose fields are where the type says. Strings that were read share the memory of one copy of the
// document; who keeps one for long keeps all of it.
package quickjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// op is what there is to do for a value of a type.
type op uint8

const (
	unusual op = iota // left to others
	ownForm           // reads, or writes, its own JSON
	aString
	aBool
	aNumber // a signed integer
	someBytes
	aStruct
	aMap
	aSlice
	aPointer
)

// plan is how values of a Go type are read or written.
type plan struct {
	op      op
	goType  reflect.Type
	element *plan            // of a map, slice or pointer
	fields  []field          // of a struct
	named   map[string]int32 // their places in fields
	plain   bool             // a map[string]string
	form    form             // how a type that has its own form is written
}

// field is a field of a struct, or of one that is embedded in it.
type field struct {
	offset    uintptr
	plan      *plan
	name      string // as it is written: "name":
	omitEmpty bool
	omitZero  bool
	isZero    func(reflect.Value) bool // for omitZero; nil: the type's zero value
}

// plans are the plans for reading or for writing.
type plans struct {
	ready sync.Map // of the types that were asked for: reflect.Type to *plan

	mu  sync.Mutex // guards the following, and plans that are not ready
	all map[reflect.Type]*plan

	own func(reflect.Type) bool // whether a type has its own form
}

var (
	unmarshalers     = reflect.TypeFor[json.Unmarshaler]()
	marshalers       = reflect.TypeFor[json.Marshaler]()
	textUnmarshalers = reflect.TypeFor[encoding.TextUnmarshaler]()
	textMarshalers   = reflect.TypeFor[encoding.TextMarshaler]()
)

// get returns the plan for a type. Types that contain themselves have plans that do.
func (ps *plans) get(t reflect.Type) *plan {
	if ready, ok := ps.ready.Load(t); ok {
		return ready.(*plan)
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.compile(t)
	ps.ready.Store(t, p)
	return p
}

func (ps *plans) compile(t reflect.Type) *plan {
	if known, ok := ps.all[t]; ok {
		return known
	}
	p := &plan{goType: t}
	if ps.all == nil {
		ps.all = map[reflect.Type]*plan{}
	}
	ps.all[t] = p
	if t.Kind() != reflect.Pointer && ps.own(t) {
		p.op, p.form = ownForm, formOf(t)
		return p
	}
	if t.Kind() != reflect.Pointer && (reflect.PointerTo(t).Implements(textUnmarshalers) || reflect.PointerTo(t).Implements(textMarshalers)) {
		return p
	}
	switch t.Kind() {
	case reflect.String:
		if t != reflect.TypeFor[json.Number]() {
			p.op = aString
		}
	case reflect.Bool:
		p.op = aBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.op = aNumber
	case reflect.Pointer:
		if t.Elem().Kind() != reflect.Pointer {
			p.op, p.element = aPointer, ps.compile(t.Elem())
		}
	case reflect.Slice:
		switch {
		case t.Elem().Kind() != reflect.Uint8:
			p.op, p.element = aSlice, ps.compile(t.Elem())
		case t.Elem() == reflect.TypeFor[byte]():
			p.op = someBytes
		}
	case reflect.Map:
		if key := t.Key(); key.Kind() == reflect.String && !reflect.PointerTo(key).Implements(textUnmarshalers) && !key.Implements(textMarshalers) {
			p.element, p.plain = ps.compile(t.Elem()), t == reflect.TypeFor[map[string]string]()
			if !needsAddress(t.Elem()) {
				p.op = aMap
			}
		}
	case reflect.Struct:
		p.named = map[string]int32{}
		if ps.addFields(p, t, 0) && len(p.fields) <= maxFields {
			p.op = aStruct
		}
	}
	return p
}

// needsAddress tells whether values of a type are written otherwise when they cannot be addressed, as those in maps cannot.
func needsAddress(t reflect.Type) bool {
	if t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(marshalers) {
		return !t.Implements(marshalers)
	}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if needsAddress(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// maxFields is how many fields of a struct a reader can tell apart.
const maxFields = 128

// addFields adds the fields of a struct, those of embedded ones where they stand. It returns false where Go's rules for names that
// are there twice, or for pointers, would have to be known.
func (ps *plans) addFields(p *plan, t reflect.Type, offset uintptr) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case f.Anonymous && name == "":
			if f.Type.Kind() != reflect.Struct || ps.own(f.Type) || !ps.addFields(p, f.Type, offset+f.Offset) {
				return false
			}
			continue
		case !f.IsExported():
			continue
		case !tagged || name == "":
			name = f.Name
		}
		added := field{offset: offset + f.Offset, plan: ps.compile(f.Type), name: `"` + name + `":`}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				added.omitEmpty = true
			case "omitzero":
				added.omitZero, added.isZero = true, zeroOf(f.Type)
			case "string":
				return false
			}
		}
		if _, twice := p.named[name]; twice || !plainText(name) {
			return false
		}
		p.named[name] = int32(len(p.fields))
		p.fields = append(p.fields, added)
	}
	return true
}

// zeroOf is the method by which values of a type say that they are zero, or nil.
func zeroOf(t reflect.Type) func(reflect.Value) bool {
	type zeroer interface{ IsZero() bool }
	switch is := reflect.TypeFor[zeroer](); {
	case t.Kind() == reflect.Pointer && t.Implements(is):
		return func(v reflect.Value) bool { return v.IsNil() || v.Interface().(zeroer).IsZero() }
	case t.Implements(is):
		return func(v reflect.Value) bool { return v.Interface().(zeroer).IsZero() }
	case reflect.PointerTo(t).Implements(is):
		return func(v reflect.Value) bool {
			if !v.CanAddr() {
				copied := reflect.New(t).Elem()
				copied.Set(v)
				v = copied
			}
			return v.Addr().Interface().(zeroer).IsZero()
		}
	}
	return nil
}

// plainText tells whether a text is the same in JSON, in quotes.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

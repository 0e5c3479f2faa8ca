package managedfields

import (
	"reflect"
	"unsafe"
)

// sameness tells whether two values of a Go type, at these places, are the same in memory all the way down. If they are, they are the
// same in JSON, too; if not, they may be all the same.
type sameness func(a, b unsafe.Pointer) bool

// equalities makes them, one for each type.
type equalities map[reflect.Type]*sameness

// of returns the one for a type. Types may contain themselves.
func (made equalities) of(t reflect.Type) sameness {
	place, ok := made[t]
	if !ok {
		place = new(sameness)
		made[t] = place
		*place = made.make(t)
	}
	if *place == nil { // it is being made
		return func(a, b unsafe.Pointer) bool { return (*place)(a, b) }
	}
	return *place
}

func (made equalities) make(t reflect.Type) sameness {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return equalMemory[uint8]
	case reflect.Int16, reflect.Uint16:
		return equalMemory[uint16]
	case reflect.Int32, reflect.Uint32:
		return equalMemory[uint32]
	case reflect.Int, reflect.Uint, reflect.Int64, reflect.Uint64, reflect.Uintptr:
		return equalMemory[uint64]
	case reflect.String:
		return equalMemory[string]
	case reflect.Pointer:
		return equalPointers(made.of(t.Elem()))
	case reflect.Slice:
		return equalSlices(t.Elem().Size(), made.of(t.Elem()))
	case reflect.Map:
		return equalMaps(t)
	case reflect.Struct:
		return made.structs(t)
	}
	return func(_, _ unsafe.Pointer) bool { return false }
}

func equalMemory[T comparable](a, b unsafe.Pointer) bool { return *(*T)(a) == *(*T)(b) }

func equalPointers(element sameness) sameness {
	return func(a, b unsafe.Pointer) bool {
		l, r := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
		return l == r || l != nil && r != nil && element(l, r)
	}
}

func equalSlices(size uintptr, element sameness) sameness {
	type slice struct {
		first    unsafe.Pointer
		len, cap int
	}
	return func(a, b unsafe.Pointer) bool {
		l, r := (*slice)(a), (*slice)(b)
		if l.len != r.len || (l.first == nil) != (r.first == nil) {
			return false
		}
		for i := range uintptr(l.len) {
			if l.first != r.first && !element(unsafe.Add(l.first, i*size), unsafe.Add(r.first, i*size)) {
				return false
			}
		}
		return true
	}
}

func equalMaps(t reflect.Type) sameness {
	return func(a, b unsafe.Pointer) bool {
		if *(*unsafe.Pointer)(a) == nil || *(*unsafe.Pointer)(b) == nil {
			return *(*unsafe.Pointer)(a) == *(*unsafe.Pointer)(b)
		}
		if t == reflect.TypeFor[map[string]string]() {
			return equalTexts(*(*map[string]string)(a), *(*map[string]string)(b))
		}
		return reflect.DeepEqual(reflect.NewAt(t, a).Elem().Interface(), reflect.NewAt(t, b).Elem().Interface())
	}
}

func equalTexts(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if other, ok := b[k]; !ok || other != v {
			return false
		}
	}
	return true
}

func (made equalities) structs(t reflect.Type) sameness {
	type part struct {
		offset uintptr
		equal  sameness
	}
	parts := make([]part, t.NumField())
	for i := range parts {
		parts[i] = part{t.Field(i).Offset, made.of(t.Field(i).Type)}
	}
	return func(a, b unsafe.Pointer) bool {
		for i := range parts {
			if offset := parts[i].offset; !parts[i].equal(unsafe.Add(a, offset), unsafe.Add(b, offset)) {
				return false
			}
		}
		return true
	}
}

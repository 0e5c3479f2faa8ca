package managedfields

import (
	"reflect"
	"sync"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unlike tells whether two values of a Go type, at these places, certainly differ for upstream's equality.Semantic: there is a
// scalar in one that is another one in the other, or there are more of something. What it does not find may be different all the
// same. nil: it never finds anything.
type unlike func(a, b unsafe.Pointer) bool

// unlikes makes them, one for each type. It is safe for concurrent use.
type unlikes struct {
	ready sync.Map // of types of objects

	mu   sync.Mutex
	made map[reflect.Type]*makingUnlike
}

// makingUnlike is one that may still be being made, because its type contains itself.
type makingUnlike struct {
	unlike unlike
	done   bool
}

// between reports whether two objects certainly differ, but for their managed fields.
func (d *unlikes) between(a, b any) bool {
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	if v.Kind() != reflect.Pointer || v.Type() != w.Type() || v.IsNil() || w.IsNil() {
		return false
	}
	t := v.Type().Elem()
	ready, ok := d.ready.Load(t)
	if !ok {
		d.mu.Lock()
		if d.made == nil {
			d.made = map[reflect.Type]*makingUnlike{}
		}
		ready, _ = d.ready.LoadOrStore(t, d.of(t))
		d.mu.Unlock()
	}
	found := ready.(unlike)
	return found != nil && found(v.UnsafePointer(), w.UnsafePointer())
}

func (d *unlikes) of(t reflect.Type) unlike {
	known, ok := d.made[t]
	switch {
	case !ok:
		known = &makingUnlike{}
		d.made[t] = known
		known.unlike = d.make(t)
		known.done = true
	case !known.done:
		return func(a, b unsafe.Pointer) bool { return known.unlike != nil && known.unlike(a, b) }
	}
	return known.unlike
}

func (d *unlikes) make(t reflect.Type) unlike {
	switch t { // those that have an equality of their own
	case reflect.TypeFor[metav1.Time]():
		return func(a, b unsafe.Pointer) bool { return !(*metav1.Time)(a).Time.Equal((*metav1.Time)(b).Time) }
	case reflect.TypeFor[metav1.MicroTime]():
		return func(a, b unsafe.Pointer) bool { return !(*metav1.MicroTime)(a).Time.Equal((*metav1.MicroTime)(b).Time) }
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.FieldsV1](), reflect.TypeFor[metav1.ManagedFieldsEntry]():
		return nil
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return unequal[uint8]
	case reflect.Int16, reflect.Uint16:
		return unequal[uint16]
	case reflect.Int32, reflect.Uint32:
		return unequal[uint32]
	case reflect.Int, reflect.Uint, reflect.Int64, reflect.Uint64, reflect.Uintptr:
		return unequal[uint64]
	case reflect.String:
		return unequal[string]
	case reflect.Pointer:
		return d.pointers(d.of(t.Elem()))
	case reflect.Slice:
		return d.slices(t.Elem().Size(), d.of(t.Elem()))
	case reflect.Map:
		return d.maps(t)
	case reflect.Struct:
		return d.structs(t)
	}
	return nil
}

func unequal[T comparable](a, b unsafe.Pointer) bool { return *(*T)(a) != *(*T)(b) }

func (d *unlikes) pointers(element unlike) unlike {
	return func(a, b unsafe.Pointer) bool {
		l, r := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
		if l == nil || r == nil || l == r {
			return (l == nil) != (r == nil)
		}
		return element != nil && element(l, r)
	}
}

func (d *unlikes) slices(size uintptr, element unlike) unlike {
	type slice struct {
		first    unsafe.Pointer
		len, cap int
	}
	return func(a, b unsafe.Pointer) bool {
		l, r := (*slice)(a), (*slice)(b)
		if l.len != r.len {
			return true
		}
		if l.first == r.first || element == nil {
			return false
		}
		for i := range uintptr(l.len) {
			if element(unsafe.Add(l.first, i*size), unsafe.Add(r.first, i*size)) {
				return true
			}
		}
		return false
	}
}

// maps looks into those of texts only.
func (d *unlikes) maps(t reflect.Type) unlike {
	if t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String {
		return func(a, b unsafe.Pointer) bool { return !equalTexts(*(*map[string]string)(a), *(*map[string]string)(b)) }
	}
	return func(a, b unsafe.Pointer) bool {
		return reflect.NewAt(t, a).Elem().Len() != reflect.NewAt(t, b).Elem().Len()
	}
}

func (d *unlikes) structs(t reflect.Type) unlike {
	type part struct {
		offset  uintptr
		differs unlike
	}
	var parts []part
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			if differs := d.of(f.Type); differs != nil {
				parts = append(parts, part{f.Offset, differs})
			}
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return func(a, b unsafe.Pointer) bool {
		for i := range parts {
			if offset := parts[i].offset; parts[i].differs(unsafe.Add(a, offset), unsafe.Add(b, offset)) {
				return true
			}
		}
		return false
	}
}

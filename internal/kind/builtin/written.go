package builtin

import (
	"bytes"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// written is what reading an object gives that has just been stored as protobuf in a version: the object itself, with the version's defaults,
// if there is nothing in it that protobuf gives back otherwise. What that may be is found by looking at it (through), at a
// fraction of the cost of decoding it. Empty lists and maps, which come back as none, are made none by looking.
func written(codec *kind.Codec, storage runtime.GroupVersioner) func(obj runtime.Object, message []byte) (read runtime.Object, asStored bool) {
	convertor, looks := codec.Sharing(), &looks{}
	return func(obj runtime.Object, message []byte) (read runtime.Object, asStored bool) {
		versioned, err := convertor.ConvertToVersion(obj, storage)
		if err != nil {
			return nil, false
		}
		v := reflect.ValueOf(versioned)
		versioned.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // of the object itself it is in the envelope
		if v.Kind() != reflect.Pointer || !looks.through(v.Type().Elem(), v.UnsafePointer()) {
			return nil, false
		}
		accessor, err := meta.Accessor(versioned)
		if err != nil {
			return nil, false
		}
		accessor.SetCreationTimestamp(accessor.GetCreationTimestamp().Rfc3339Copy())
		codec.Defaulter.Default(versioned)
		asStored = message != nil && encodesAs(versioned, message)
		hub, err := convertor.ConvertToVersion(versioned, codec.Hub)
		if err != nil {
			return nil, false
		}
		return hub, asStored
	}
}

// encodesAs reports whether an object's protobuf message is this one.
func encodesAs(obj runtime.Object, message []byte) bool {
	encoder, ok := obj.(interface {
		Size() int
		MarshalToSizedBuffer([]byte) (int, error)
	})
	if !ok || encoder.Size() != len(message) {
		return false
	}
	buffer := messages.Get().(*[]byte)
	*buffer = slices.Grow((*buffer)[:0], len(message))[:len(message)]
	_, err := encoder.MarshalToSizedBuffer(*buffer)
	same := err == nil && bytes.Equal(*buffer, message)
	if len(message) <= keptMessage {
		messages.Put(buffer)
	}
	return same
}

// messages are for messages that are only compared.
var messages = sync.Pool{New: func() any { return new([]byte) }}

// keptMessage is how large a buffer may be that is used again.
const keptMessage = 64 << 10

// look tells whether there is nothing in a value of a Go type but what protobuf gives back as it is, or what it has made so. nil: there
// never is anything else.
type look func(at unsafe.Pointer) bool

// looks makes the looks of types, once each.
type looks struct {
	ready sync.Map // of types of objects

	mu   sync.Mutex // guards the following
	made map[reflect.Type]*making
	// copies are those for values of maps, which are looked at in a copy, so that nothing can be made of them.
	copies map[reflect.Type]*making
	inCopy bool
}

// making is a look that may still be being made, because its type contains itself.
type making struct {
	look look
	done bool
}

// through looks through a value.
func (l *looks) through(t reflect.Type, at unsafe.Pointer) bool {
	ready, ok := l.ready.Load(t)
	if !ok {
		l.mu.Lock()
		if l.made == nil {
			l.made, l.copies = map[reflect.Type]*making{}, map[reflect.Type]*making{}
		}
		ready, _ = l.ready.LoadOrStore(t, l.of(t))
		l.mu.Unlock()
	}
	found := ready.(look)
	return found == nil || found(at)
}

func (l *looks) of(t reflect.Type) look {
	made := l.made
	if l.inCopy {
		made = l.copies
	}
	known, ok := made[t]
	switch {
	case !ok:
		known = &making{}
		made[t] = known
		known.look = l.make(t)
		known.done = true
	case !known.done:
		return func(at unsafe.Pointer) bool { return known.look == nil || known.look(at) }
	}
	return known.look
}

func (l *looks) make(t reflect.Type) look {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString]():
		return nil // what is lost of them is not in JSON either
	case reflect.TypeFor[metav1.FieldsV1]():
		return func(at unsafe.Pointer) bool { return len((*metav1.FieldsV1)(at).GetRawBytes()) > 0 }
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int32, reflect.Int64, reflect.Uint8:
		return nil
	case reflect.Pointer:
		return l.pointer(t)
	case reflect.Slice:
		return l.slice(t)
	case reflect.Map:
		return l.maps(t)
	case reflect.Struct:
		return l.structs(t)
	}
	return zero(t)
}

// zero is the look of what is not known, and may not be there.
func zero(t reflect.Type) look {
	return func(at unsafe.Pointer) bool { return reflect.NewAt(t, at).Elem().IsZero() }
}

func (l *looks) pointer(t reflect.Type) look {
	element := l.of(t.Elem())
	if element == nil {
		return nil
	}
	return func(at unsafe.Pointer) bool {
		to := *(*unsafe.Pointer)(at)
		return to == nil || element(to)
	}
}

// slice: one that is empty comes back as none, unless it is of bytes.
func (l *looks) slice(t reflect.Type) look {
	type slice struct {
		first    unsafe.Pointer
		len, cap int
	}
	element, size := l.element(t.Elem()), t.Elem().Size()
	fixed := l.inCopy || t.Elem().Kind() == reflect.Uint8
	return func(at unsafe.Pointer) bool {
		s := (*slice)(at)
		if s.first != nil && s.len == 0 {
			if fixed {
				return false
			}
			*s = slice{}
		}
		for i := 0; element != nil && i < s.len; i++ {
			if !element(unsafe.Add(s.first, uintptr(i)*size)) {
				return false
			}
		}
		return true
	}
}

// element is the look of what is in a slice or a map, where nothing comes back as something.
func (l *looks) element(t reflect.Type) look {
	found := l.of(t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return func(at unsafe.Pointer) bool { return *(*unsafe.Pointer)(at) != nil && (found == nil || found(at)) }
	}
	return found
}

func (l *looks) maps(t reflect.Type) look {
	fixed := l.inCopy
	l.inCopy = true
	element := l.element(t.Elem())
	l.inCopy = fixed
	return func(at unsafe.Pointer) bool {
		if *(*unsafe.Pointer)(at) == nil {
			return true
		}
		m := reflect.NewAt(t, at).Elem()
		if m.Len() == 0 {
			if !fixed {
				m.SetZero()
			}
			return !fixed
		}
		if element == nil {
			return true
		}
		value := reflect.New(t.Elem())
		for entries := m.MapRange(); entries.Next(); {
			value.Elem().SetIterValue(entries)
			if !element(value.UnsafePointer()) {
				return false
			}
		}
		return true
	}
}

// structs: a field that protobuf does not know does not come back.
func (l *looks) structs(t reflect.Type) look {
	type part struct {
		offset uintptr
		look   look
	}
	var parts []part
	for i := range t.NumField() {
		f := t.Field(i)
		found := zero(f.Type)
		if _, stored := f.Tag.Lookup("protobuf"); stored && f.IsExported() {
			found = l.of(f.Type)
		}
		if found != nil {
			parts = append(parts, part{f.Offset, found})
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return func(at unsafe.Pointer) bool {
		for i := range parts {
			if !parts[i].look(unsafe.Add(at, parts[i].offset)) {
				return false
			}
		}
		return true
	}
}

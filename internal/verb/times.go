package verb

import (
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// times remembers which types have times in them. It belongs to one goroutine.
type times map[reflect.Type]bool

// in tells whether a value of a type may have a time somewhere in it. A type that contains itself counts as one that
// has.
func (t times) in(of reflect.Type) bool {
	has, known := t[of]
	if known {
		return has
	}
	t[of] = true
	switch of.Kind() {
	case reflect.Interface:
		has = true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		has = t.in(of.Elem())
	case reflect.Struct:
		has = of == reflect.TypeFor[metav1.Time]() || of == reflect.TypeFor[metav1.MicroTime]()
		for i := 0; i < of.NumField() && !has; i++ {
			has = t.in(of.Field(i).Type)
		}
	}
	t[of] = has
	return has
}

// shift moves all times in a value that are set.
func (t times) shift(v reflect.Value, by time.Duration) {
	if !t.in(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			t.shift(v.Elem(), by)
		}
	case reflect.Struct:
		t.shiftStruct(v, by)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			t.shift(v.Index(i), by)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() { // values of maps cannot be changed in place
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			t.shift(value, by)
			v.SetMapIndex(key, value)
		}
	}
}

func (t times) shiftStruct(v reflect.Value, by time.Duration) {
	if v.CanAddr() && v.CanSet() {
		switch at := v.Addr().Interface().(type) {
		case *metav1.Time:
			if !at.IsZero() {
				at.Time = at.Add(by)
			}
			return
		case *metav1.MicroTime:
			if !at.IsZero() {
				at.Time = at.Add(by)
			}
			return
		}
	}
	for i := range v.NumField() {
		if field := v.Field(i); field.CanSet() {
			t.shift(field, by)
		}
	}
}

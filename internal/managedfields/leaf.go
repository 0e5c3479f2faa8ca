package managedfields

import (
	"encoding/json"
	"reflect"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// setLeaf gives a value of a Go type what a configuration has. It returns false if the configuration cannot be read back from
// that just as it was: it has something that the type has not, something that the type leaves out, another way to write it.
func setLeaf(to reflect.Value, from any, converts bool) bool {
	if !converts && setScalar(to, from) {
		return true
	}
	// What is the same as a document stays what it is: null and empty are not the same to everybody (see sameLeaf).
	if there, err := value.NewValueReflect(pointerTo(to)); err == nil && value.Equals(there, value.NewValueInterface(from)) {
		return true
	}
	text, err := json.Marshal(from)
	if err != nil {
		return false
	}
	read := reflect.New(to.Type())
	if strict, err := kjson.UnmarshalStrict(text, read.Interface()); err != nil || len(strict) > 0 {
		return false
	}
	form, err := value.NewValueReflect(pointerTo(read.Elem()))
	if err != nil || form.IsNull() || !reflect.DeepEqual(form.Unstructured(), from) {
		return false
	}
	to.Set(read.Elem())
	return true
}

// setScalar sets values of the types that need no more than that.
func setScalar(to reflect.Value, from any) bool {
	pointer := reflect.Value{}
	if to.Kind() == reflect.Pointer {
		pointer, to = to, reflect.New(to.Type().Elem()).Elem()
	}
	v := reflect.ValueOf(from)
	switch {
	case to.Kind() == reflect.String && v.Kind() == reflect.String:
		to.SetString(v.String())
	case to.Kind() == reflect.Bool && v.Kind() == reflect.Bool:
		to.SetBool(v.Bool())
	case (to.Kind() == reflect.Int32 || to.Kind() == reflect.Int64) && v.Kind() == reflect.Int64 && !to.OverflowInt(v.Int()):
		to.SetInt(v.Int())
	default:
		return false
	}
	if pointer.IsValid() {
		pointer.Set(to.Addr())
	}
	return true
}

// plainScalar tells whether a value of a configuration is no map and no list.
func plainScalar(v any) bool {
	switch v.(type) {
	case string, int64, float64, bool:
		return true
	}
	return false
}

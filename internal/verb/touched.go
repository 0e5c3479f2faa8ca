package verb

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// touched are the fields of a struct, by index, that a merge patch touches: with nil for a field as a whole, else with the fields
// of that struct. A nil touched is everything.
//
// A patch of a pod's status leaves its spec alone. To make the spec a document, and out of that a spec again, would be most of
// what the patch costs, and change nothing.
type touched map[int]touched

// touchedBy finds what a strategic merge patch touches in an object, a pointer to a struct. Where the patch has directives, which
// may say something about other fields, or names a field that is not there, it touches everything.
func touchedBy(patch map[string]any, obj runtime.Object) touched {
	return touchedIn(patch, reflect.TypeOf(obj).Elem())
}

func touchedIn(patch map[string]any, t reflect.Type) touched {
	fields := make(touched, len(patch))
	for name, patched := range patch {
		field, ok := fieldNamed(t, name)
		if !ok {
			return nil
		}
		fields[field.Index[0]] = nil
		if patched, ok := patched.(map[string]any); ok && opens(field) {
			fields[field.Index[0]] = touchedIn(patched, field.Type)
		}
	}
	return fields
}

// fieldNamed finds a field by its name in JSON. What is inlined is not looked into.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		field := t.Field(i)
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag == name && tag != "" && tag != "-" {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// opens reports whether a field is a struct that is always there in a document and has its own fields in it.
func opens(field reflect.StructField) bool {
	if field.Type.Kind() != reflect.Struct || strings.Contains(field.Tag.Get("json"), ",omitzero") {
		return false
	}
	entry := value.TypeReflectEntryOf(field.Type)
	return !entry.CanConvertToUnstructured() && !entry.CanConvertFromUnstructured()
}

// document is the part of obj that is touched, as a document.
func (t touched) document(obj runtime.Object) (map[string]any, error) {
	if t == nil {
		return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	}
	v := reflect.ValueOf(obj).Elem()
	part := reflect.New(v.Type())
	t.set(part.Elem(), v)
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(part.Interface())
	t.prune(document, v.Type())
	return document, err
}

// completed is obj as it is once the touched part of it is what it is in part, without sharing memory with obj.
func (t touched) completed(part, obj runtime.Object) runtime.Object {
	if t == nil {
		return part
	}
	v := reflect.ValueOf(obj).Elem()
	rest := reflect.New(v.Type())
	rest.Elem().Set(v)
	t.set(rest.Elem(), reflect.Zero(v.Type())) // what is replaced need not be copied
	completed := rest.Interface().(runtime.Object).DeepCopyObject()
	t.set(reflect.ValueOf(completed).Elem(), reflect.ValueOf(part).Elem())
	return completed
}

// set gives the touched fields of a struct the values that they have in another.
func (t touched) set(to, from reflect.Value) {
	for i, fields := range t {
		if fields == nil {
			to.Field(i).Set(from.Field(i))
		} else {
			fields.set(to.Field(i), from.Field(i))
		}
	}
}

// prune takes out of a document what structs have in it even when it is empty.
func (t touched) prune(document map[string]any, of reflect.Type) {
	kept := make(map[string]bool, len(t))
	for i, fields := range t {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		kept[name] = true
		if inner, ok := document[name].(map[string]any); ok && fields != nil {
			fields.prune(inner, field.Type)
		}
	}
	for name := range document {
		if !kept[name] {
			delete(document, name)
		}
	}
}

package verb_test

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

// What is generated for declarative validation is looked for in the scheme that converts the kind's objects. It must be the one in
// which the strategy would look.
func TestDeclarativeValidationIsInTheKindsScheme(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	checked := 0
	for _, k := range f.table.Kinds() {
		strategies := []any{k.Create, k.Update}
		for _, sub := range k.Subresources {
			strategies = append(strategies, sub.Update)
		}
		for _, strategy := range strategies {
			if _, ok := strategy.(rest.DeclarativeValidationStrategy); !ok {
				continue
			}
			found := declarativeScheme(reflect.ValueOf(strategy))
			if found == nil || runtime.ObjectConvertor(found) != k.Codec.Convertor {
				t.Errorf("%v: %T has another scheme, or none", k.GroupResource(), strategy)
			}
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("only %d strategies validate declaratively", checked)
	}
}

// declarativeScheme finds the scheme in the rest.DeclarativeValidation that is embedded somewhere in a strategy.
func declarativeScheme(v reflect.Value) *runtime.Scheme {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	if v.Type() == reflect.TypeFor[rest.DeclarativeValidation]() {
		return (*runtime.Scheme)(v.Field(0).UnsafePointer())
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			if found := declarativeScheme(v.Field(i)); found != nil {
				return found
			}
		}
	}
	return nil
}

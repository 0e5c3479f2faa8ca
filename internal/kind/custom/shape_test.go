package custom

import (
	"reflect"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

// names are few, so that values meet schemas.
var memberNames = []string{"a", "b", "c", "kind", "metadata"}

// drawSchema draws a schema that a definition may have, but for rules that need others beside them.
func drawSchema(t *rapid.T, depth int) *apiextensions.JSONSchemaProps {
	types := []string{"string", "integer", "number", "boolean"}
	if depth > 0 {
		types = append(types, "object", "object", "array")
	}
	s := &apiextensions.JSONSchemaProps{Type: rapid.SampledFrom(types).Draw(t, "type"), Nullable: rapid.IntRange(0, 5).Draw(t, "nullable") == 0}
	sometimes := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	number := func(what string) int64 { return rapid.Int64Range(0, 3).Draw(t, what) }
	switch s.Type {
	case "string":
		if sometimes("lengths") {
			s.MinLength, s.MaxLength = ptr.To(number("min")), ptr.To(number("max"))
		}
		if sometimes("pattern") {
			s.Pattern = rapid.SampledFrom([]string{"^a*$", "b", "("}).Draw(t, "pattern")
		}
		if sometimes("format") {
			s.Format = rapid.SampledFrom([]string{"date", "ipv4", "unheard-of"}).Draw(t, "format")
		}
		if sometimes("enum") {
			s.Enum = []apiextensions.JSON{"a", "aa", int64(1)}
		}
		if sometimes("default") {
			s.Default = ptr.To[apiextensions.JSON]("aa")
		}
	case "integer", "number":
		if sometimes("bounds") {
			s.Minimum, s.Maximum = ptr.To(rapid.SampledFrom([]float64{-1, 0, 0.5, -1e300}).Draw(t, "low")), ptr.To(rapid.SampledFrom([]float64{1, 2, 1.5, 1e300}).Draw(t, "high"))
			s.ExclusiveMinimum, s.ExclusiveMaximum = sometimes("above"), sometimes("below")
		}
		if sometimes("format") {
			s.Format = rapid.SampledFrom([]string{"int32", "int64", "double", "float"}).Draw(t, "format")
		}
		if sometimes("multiple") {
			s.MultipleOf = ptr.To(2.0)
		}
	case "array":
		s.Items = &apiextensions.JSONSchemaPropsOrArray{Schema: drawSchema(t, depth-1)}
		if sometimes("items") {
			s.MinItems, s.MaxItems = ptr.To(number("min")), ptr.To(number("max"))
		}
	case "object":
		if sometimes("default") {
			s.Default = ptr.To[apiextensions.JSON](rapid.SampledFrom([]any{map[string]any{}, map[string]any{"a": "aa"}, map[string]any{"b": map[string]any{"a": int64(1)}}}).Draw(t, "default"))
		}
		switch rapid.IntRange(0, 4).Draw(t, "members") {
		case 0:
			s.AdditionalProperties = &apiextensions.JSONSchemaPropsOrBool{Allows: true, Schema: drawSchema(t, depth-1)}
		case 1:
			s.XPreserveUnknownFields = ptr.To(true)
		default:
			s.Properties = map[string]apiextensions.JSONSchemaProps{}
			for _, name := range memberNames {
				if rapid.Bool().Draw(t, name) {
					s.Properties[name] = *drawSchema(t, depth-1)
				}
			}
		}
		if sometimes("required") {
			s.Required = []string{"a"}
		}
		if sometimes("number of members") {
			s.MinProperties, s.MaxProperties = ptr.To(number("min")), ptr.To(number("max"))
		}
		if sometimes("embedded") && sometimes("resource") {
			s.XEmbeddedResource = true
		}
	}
	return s
}

// drawValue draws a value that has some chance to be as a schema has it.
func drawValue(t *rapid.T, s *apiextensions.JSONSchemaProps) any {
	if s == nil || rapid.IntRange(0, 15).Draw(t, "other") == 0 {
		return rapid.SampledFrom([]any{nil, "a", int64(1), 1.5, true, map[string]any{"a": "b"}, []any{"a"}, []any{map[string]any{}}}).Draw(t, "any")
	}
	switch s.Type {
	case "string":
		return rapid.SampledFrom([]string{"", "a", "aa", "b", "äaä", "2026-01-02"}).Draw(t, "text")
	case "integer", "number":
		return rapid.SampledFrom([]any{int64(0), int64(1), int64(2), int64(-1), int64(1) << 40, int64(1) << 62, 0.5, 2.0}).Draw(t, "number")
	case "boolean":
		return rapid.Bool().Draw(t, "bool")
	case "array":
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, drawValue(t, s.Items.Schema))
		}
		return list
	}
	object := map[string]any{}
	for _, name := range memberNames {
		property, known := s.Properties[name]
		switch {
		case known && rapid.IntRange(0, 3).Draw(t, "there") > 0:
			object[name] = drawValue(t, &property)
		case s.AdditionalProperties != nil && rapid.Bool().Draw(t, "there"):
			object[name] = drawValue(t, s.AdditionalProperties.Schema)
		case !known && rapid.IntRange(0, 9).Draw(t, "unknown") == 0:
			object[name] = drawValue(t, nil)
		}
	}
	return object
}

// TestCertain: what is certainly valid upstream finds valid.
func TestCertain(t *testing.T) {
	t.Parallel()
	told, valid := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		props := drawSchema(t, 3)
		upstream, schema, err := validation.NewSchemaValidator(props)
		if err != nil {
			t.Skip(err)
		}
		c := newCertain(schema)
		for range 4 {
			value := drawValue(t, props)
			result := upstream.Validate(value)
			if result.IsValid() {
				valid++
			}
			if !c.valid(value) {
				continue
			}
			told++
			if !result.IsValid() {
				t.Fatalf("%#v is not valid: %v", value, result.Errors)
			}
		}
	})
	if told*2 < valid {
		t.Errorf("of %d valid values only %d are known to be", valid, told)
	}
}

// TestSettled: what is settled is as upstream's passes leave it, which have nothing to say; and what is not they leave as if it had not been
// looked at.
func TestSettled(t *testing.T) {
	t.Parallel()
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	told, left := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		props := drawSchema(t, 3)
		props.Type = "object"
		structural, err := structuralschema.NewStructural(props)
		if err != nil {
			t.Skip(err)
		}
		structural = structural.DeepCopy()
		if err := defaulting.PruneDefaults(structural); err != nil {
			t.Skip(err)
		}
		s := &schemas{
			groupKind: gvk.GroupKind(), structural: map[string]*structuralschema.Structural{"v1": structural},
			shapes: map[string]*shape{"v1": newRootShape(structural)},
		}
		object, ok := drawValue(t, props).(map[string]any)
		if !ok {
			return
		}
		object["apiVersion"], object["kind"], object["metadata"] = "example.com/v1", "Widget", map[string]any{"name": "a", "generation": int64(1)}
		for _, stored := range []bool{false, true} {
			how := coercion{paths: true}
			if stored {
				how = coercion{lenient: true}
			}
			passes := func(object map[string]any) (after map[string]any, said []string, err error) {
				u := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(object)}
				said, err = s.coerce(u, how)
				if err == nil {
					defaulting.Default(u.Object, structural)
				}
				return u.Object, said, err
			}
			want, said, err := passes(object)
			looked := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(object)}
			known := s.settled(looked, gvk, stored)
			if err == nil && len(said) == 0 {
				left++
			}
			if known {
				told++
				if err != nil || len(said) > 0 || !reflect.DeepEqual(looked.Object, want) {
					t.Fatalf("%v becomes %v, not %v, with %v, %v", object, looked.Object, want, said, err)
				}
				continue
			}
			got, saidThen, errThen := passes(looked.Object)
			// Of several errors upstream returns any.
			if (errThen == nil) != (err == nil) || err == nil && !(reflect.DeepEqual(saidThen, said) && reflect.DeepEqual(got, want)) {
				t.Fatalf("%v, looked at, becomes %v, not %v, with %v, %v, not %v, %v", object, got, want, saidThen, errThen, said, err)
			}
		}
	})
	if told*2 < left {
		t.Errorf("of %d objects that there is nothing to say about only %d are known", left, told)
	}
}

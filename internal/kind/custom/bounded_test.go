package custom

import (
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

const partsSchema = `{"type":"object","properties":{"parts":{"type":"array","items":{"type":"object","required":["name"],"properties":{"name":{"type":"string","maxLength":3},
"size":{"anyOf":[{"type":"integer"},{"type":"string"}]}}}},"labels":{"type":"object","additionalProperties":{"type":"string"}}}}`

// TestBoundedValidation: what is found in a large object with not too many errors is what upstream finds, also in an update.
func TestBoundedValidation(t *testing.T) {
	t.Parallel()
	versioned, properties := &apiextensionsv1.JSONSchemaProps{}, &apiextensions.JSONSchemaProps{}
	if err := json.Unmarshal([]byte(partsSchema), versioned); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(versioned, properties, nil); err != nil {
		t.Fatal(err)
	}
	upstream, _, err := validation.NewSchemaValidator(properties)
	if err != nil {
		t.Fatal(err)
	}
	own, err := newValidator(properties)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []int{0, 1, 7, 400, 5000} {
		parts, old := []any{}, []any{}
		labels := map[string]any{}
		for i := range 5000 {
			part := map[string]any{"name": "a", "size": int64(i)}
			if i < wrong {
				part = []map[string]any{{"name": "long"}, {}, {"name": "a", "size": true}, {"name": nil}}[i%4]
				labels[fmt.Sprint(i)] = int64(1)
			}
			parts = append(parts, part)
			if i%2 == 0 {
				old = append(old, part)
			}
		}
		object, before := map[string]any{"parts": parts, "labels": labels}, map[string]any{"parts": old, "labels": labels}
		created := len(own.Validate(object).Errors)
		if wrong >= maxErrors {
			if created <= maxErrors || created > 2*maxErrors {
				t.Errorf("of %d wrong elements %d are found", wrong, created)
			}
			continue
		}
		if want := len(upstream.Validate(object).Errors); created != want {
			t.Errorf("%d wrong elements: create finds %d, upstream %d", wrong, created, want)
		}
		options := validation.WithRatcheting(nil)
		if got, want := len(own.ValidateUpdate(object, before, options).Errors), len(upstream.ValidateUpdate(object, before, options).Errors); got != want {
			t.Errorf("%d wrong elements: update finds %d, upstream %d", wrong, got, want)
		}
	}
}

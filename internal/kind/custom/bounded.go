package custom

import (
	"fmt"
	"reflect"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// Upstream's validation takes time that grows with the square of the number of errors: it looks for each among those that it has,
// and then puts all into one message. A megabyte of wrong elements would take it minutes. So the validation of a large object, which still is upstream's, ends when there are more
// errors than anybody reads.

// maxErrors is how many causes an object is refused for at most.
const maxErrors = 1000

// bounded leaves out what is more.
func bounded(errs field.ErrorList) field.ErrorList {
	if len(errs) <= maxErrors {
		return errs
	}
	message := fmt.Sprintf("there are more errors, of which only the first %d are listed", maxErrors)
	return append(errs[:maxErrors:maxErrors], field.Invalid(nil, nil, message))
}

// boundedValidator is upstream's validator for a schema, asked for nothing that it would take too long for, nor for what is certain.
type boundedValidator struct {
	validation.SchemaValidator
	schema  *spec.Schema
	certain *certain
}

func newValidator(properties *apiextensions.JSONSchemaProps) (validation.SchemaValidator, error) {
	upstream, schema, err := validation.NewSchemaValidator(properties)
	if err != nil {
		return nil, err
	}
	return boundedValidator{upstream, schema, newCertain(schema)}, nil
}

// Validate implements validation.SchemaValidator.
func (v boundedValidator) Validate(value any, options ...validation.ValidationOption) *validate.Result {
	switch {
	case v.certain.valid(value):
		return new(validate.Result)
	case nodes(value, 0) < maxErrors:
		return v.SchemaValidator.Validate(value, options...)
	}
	result, _ := v.look(value)
	return result
}

// ValidateUpdate implements validation.SchemaValidator. Of what is wrong in a thousand places nothing may stay as it was.
func (v boundedValidator) ValidateUpdate(value, old any, options ...validation.ValidationOption) *validate.Result {
	switch {
	case v.certain.valid(value):
		return new(validate.Result)
	case nodes(value, 0) < maxErrors:
		return v.SchemaValidator.ValidateUpdate(value, old, options...)
	}
	if result, all := v.look(value); result.IsValid() || !all {
		return result
	}
	return v.SchemaValidator.ValidateUpdate(value, old, options...)
}

// look does what upstream's validator does with a new object, but not much more than maxErrors times; all says that that was all.
func (v boundedValidator) look(value any) (result *validate.Result, all bool) {
	l := &looking{}
	result = validate.NewSchemaValidator(v.schema, nil, "", strfmt.Default, l.option).Validate(value)
	return result, !l.enough
}

// nodes counts the values within a value, but does not go on when there are many.
func nodes(value any, n int) int {
	n++
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			if n = nodes(v, n); n >= maxErrors {
				break
			}
		}
	case []any:
		for _, v := range value {
			if n = nodes(v, n); n >= maxErrors {
				break
			}
		}
	}
	return n
}

// looking is a validation that ends when there are enough errors.
type looking struct {
	errors int
	enough bool
}

func (l *looking) option(o *validate.SchemaValidatorOptions) {
	o.NewValidatorForIndex = func(_ int, schema *spec.Schema, rootSchema any, root string, formats strfmt.Registry, _ ...validate.Option) validate.ValueValidator {
		return l.at(schema, rootSchema, root, formats)
	}
	o.NewValidatorForField = func(_ string, schema *spec.Schema, rootSchema any, root string, formats strfmt.Registry, _ ...validate.Option) validate.ValueValidator {
		return l.at(schema, rootSchema, root, formats)
	}
}

// at makes the validator for a value within.
func (l *looking) at(schema *spec.Schema, rootSchema any, root string, formats strfmt.Registry) validate.ValueValidator {
	if l.enough {
		return nothing{}
	}
	return counting{l, validate.NewSchemaValidator(schema, rootSchema, root, formats, l.option)}
}

// counting counts the errors of a value, those of values within it included.
type counting struct {
	looking *looking
	validate.ValueValidator
}

// Validate implements validate.ValueValidator.
func (c counting) Validate(value any) *validate.Result {
	before := c.looking.errors
	result := c.ValueValidator.Validate(value)
	c.looking.errors = before + len(result.Errors)
	c.looking.enough = c.looking.enough || c.looking.errors > maxErrors
	return result
}

// nothing finds nothing wrong.
type nothing struct{}

// SetPath implements validate.ValueValidator.
func (nothing) SetPath(string) {}

// Applies implements validate.ValueValidator.
func (nothing) Applies(any, reflect.Kind) bool { return true }

// Validate implements validate.ValueValidator.
func (nothing) Validate(any) *validate.Result { return new(validate.Result) }

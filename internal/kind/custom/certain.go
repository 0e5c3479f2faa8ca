package custom

import (
	"math"
	"regexp"
	"slices"
	"sync"
	"unicode/utf8"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// certain tells of values that upstream's validation by a schema has certainly nothing to say about. Upstream makes a dozen objects for each
// value that it looks at, each time, which is a tenth of what creating a small object allocates; most objects are valid, and most
// schemas are made of what is known here. Where it cannot tell, and where something is wrong, upstream is asked.
type certain struct {
	types            []string // none: any
	nullable, format bool
	formatName       string

	minLength, maxLength *int64
	pattern              func() *regexp.Regexp

	minimum, maximum                   *float64
	exclusiveMinimum, exclusiveMaximum bool

	minItems, maxItems *int64
	items              *certain

	minProperties, maxProperties *int64
	required                     []string
	properties                   map[string]*certain // nil: it cannot be told
	others                       *certain

	texts []string // of an enumeration
	enum  bool
}

// newCertain returns nil for a schema that has something that is not known here.
func newCertain(s *spec.Schema) *certain {
	if s.Ref.String() != "" || len(s.AllOf)+len(s.OneOf)+len(s.AnyOf)+len(s.Dependencies)+len(s.PatternProperties) > 0 || s.Not != nil ||
		s.UniqueItems || s.MultipleOf != nil || s.AdditionalItems != nil || s.Items != nil && len(s.Items.Schemas) > 0 {
		return nil
	}
	c := &certain{
		types: s.Type, nullable: s.Nullable, format: s.Format != "", formatName: s.Format,
		minLength: s.MinLength, maxLength: s.MaxLength,
		minimum: s.Minimum, maximum: s.Maximum, exclusiveMinimum: s.ExclusiveMinimum, exclusiveMaximum: s.ExclusiveMaximum,
		minItems: s.MinItems, maxItems: s.MaxItems,
		minProperties: s.MinProperties, maxProperties: s.MaxProperties, required: s.Required,
		enum: len(s.Enum) > 0,
	}
	for _, value := range s.Enum {
		if text, ok := value.(string); ok {
			c.texts = append(c.texts, text)
		}
	}
	if s.Pattern != "" {
		c.pattern = sync.OnceValue(func() *regexp.Regexp {
			compiled, _ := regexp.Compile(s.Pattern) // nil: nothing matches
			return compiled
		})
	}
	if s.Items != nil && s.Items.Schema != nil {
		if c.items = newCertain(s.Items.Schema); c.items == nil {
			return nil
		}
	}
	if others := s.AdditionalProperties; others != nil {
		switch {
		case !others.Allows:
			return nil
		case others.Schema != nil:
			if c.others = newCertain(others.Schema); c.others == nil {
				return nil
			}
		}
	}
	c.properties = make(map[string]*certain, len(s.Properties))
	for name := range s.Properties {
		property := s.Properties[name]
		c.properties[name] = newCertain(&property)
	}
	return c
}

// valid reports whether a value is certainly valid.
func (c *certain) valid(value any) bool {
	if c == nil {
		return false
	}
	switch value := value.(type) {
	case nil:
		return (c.nullable || len(c.types) == 0) && !c.enum
	case string:
		return c.is("string") && !c.format && c.validText(value)
	case bool:
		return c.is("boolean") && !c.format && !c.enum
	case int64:
		return c.validInteger(value)
	case float64:
		return c.is("number") && len(c.types) == 1 && !c.format && !c.enum && c.within(value)
	case []any:
		return c.is("array") && !c.format && !c.enum && c.validList(value)
	case map[string]any:
		return c.is("object") && !c.format && !c.enum && c.validObject(value)
	}
	return false
}

func (c *certain) is(name string) bool { return len(c.types) == 0 || slices.Contains(c.types, name) }

func (c *certain) validText(text string) bool {
	if c.minLength != nil || c.maxLength != nil {
		length := int64(utf8.RuneCountInString(text))
		if c.minLength != nil && length < *c.minLength || c.maxLength != nil && length > *c.maxLength {
			return false
		}
	}
	if c.pattern != nil {
		if pattern := c.pattern(); pattern == nil || !pattern.MatchString(text) {
			return false
		}
	}
	return !c.enum || slices.Contains(c.texts, text)
}

func (c *certain) validInteger(n int64) bool {
	if len(c.types) != 1 || c.enum {
		return false
	}
	switch c.types[0] {
	case "integer":
		switch c.formatName {
		case "", "int64":
		case "int32":
			if n < math.MinInt32 || n > math.MaxInt32 {
				return false
			}
		default:
			return false
		}
	case "number":
		if c.format {
			return false
		}
	default:
		return false
	}
	// Bounds are floating-point numbers; only among these is an integer sure to be the same.
	return small(float64(n)) && c.wholeBounds() && c.within(float64(n))
}

// small reports whether a number is one of those that floating point has exactly.
func small(f float64) bool { return math.Abs(f) < 1<<53 }

func (c *certain) wholeBounds() bool {
	for _, bound := range []*float64{c.minimum, c.maximum} {
		if bound != nil && (!small(*bound) || *bound != math.Trunc(*bound)) {
			return false
		}
	}
	return true
}

func (c *certain) within(f float64) bool {
	if low := c.minimum; low != nil && (f < *low || c.exclusiveMinimum && f == *low) {
		return false
	}
	high := c.maximum
	return high == nil || f < *high || f == *high && !c.exclusiveMaximum
}

func (c *certain) validList(list []any) bool {
	n := int64(len(list))
	if c.minItems != nil && n < *c.minItems || c.maxItems != nil && n > *c.maxItems {
		return false
	}
	for _, e := range list {
		if c.items != nil && !c.items.valid(e) {
			return false
		}
	}
	return true
}

func (c *certain) validObject(object map[string]any) bool {
	n := int64(len(object))
	if c.minProperties != nil && n < *c.minProperties || c.maxProperties != nil && n > *c.maxProperties {
		return false
	}
	for _, name := range c.required {
		if _, ok := object[name]; !ok {
			return false
		}
	}
	for name, value := range object {
		if property, ok := c.properties[name]; ok {
			if !property.valid(value) {
				return false
			}
		} else if c.others != nil && !c.others.valid(value) {
			return false
		}
	}
	return true
}

package custom

import (
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// shape tells of objects that upstream's passes over what has been read (pruning, nulls, embedded metadata, defaults) certainly leave as
// they are, without a word, but for defaults, which it fills in: all is known, and nothing is null. One look takes the place of four
// walks, for the body and for what was stored. Where it cannot tell, the passes are made; that some defaults are there by then makes no
// difference to them.
type shape struct {
	// unknown says that what has no schema stays. Nothing looks into it.
	unknown    bool
	properties map[string]*shape // nil: it cannot be told
	// others is that of what is not among properties, if others may be there.
	others    *shape
	hasOthers bool
	// items is that of elements, if they may be anything but plain values.
	items    *shape
	hasItems bool
	defaults []propertyDefault
}

// propertyDefault is what a property is when it is not there.
type propertyDefault struct {
	name  string
	value any
}

// newShape returns nil for a schema that it cannot be told for. Where there is no schema nothing but plain values stays.
func newShape(s *structuralschema.Structural) *shape {
	switch {
	case s == nil:
		return &shape{}
	case s.XEmbeddedResource:
		return nil
	}
	sh := &shape{unknown: s.XPreserveUnknownFields}
	if len(s.Properties) > 0 {
		sh.properties = make(map[string]*shape, len(s.Properties))
	}
	for name := range s.Properties {
		property := s.Properties[name]
		sh.properties[name] = newShape(&property)
		if property.Default.Object != nil {
			sh.defaults = append(sh.defaults, propertyDefault{name, property.Default.Object})
		}
	}
	if s.AdditionalProperties != nil {
		sh.hasOthers, sh.others = true, newShape(s.AdditionalProperties.Structural)
	}
	if s.Items != nil {
		sh.hasItems, sh.items = true, newShape(s.Items)
	}
	return sh
}

// newRootShape is the shape of whole objects. What is in metadata is looked at elsewhere (settledMetadata), unless the schema has defaults
// for it.
func newRootShape(s *structuralschema.Structural) *shape {
	if s == nil {
		return nil
	}
	sh := newShape(s)
	if sh == nil || sh.hasOthers {
		return nil
	}
	if metadata, ok := sh.properties["metadata"]; ok && metadata.mayDefault() {
		return nil
	}
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		if property := s.Properties[name]; property.Default.Object != nil {
			return nil
		}
		delete(sh.properties, name)
	}
	return sh
}

// mayDefault reports whether there may be defaults for what is within.
func (sh *shape) mayDefault() bool {
	if sh == nil || len(sh.defaults) > 0 || sh.hasItems && sh.items.mayDefault() || sh.hasOthers && sh.others.mayDefault() {
		return true
	}
	for _, property := range sh.properties {
		if property.mayDefault() {
			return true
		}
	}
	return false
}

// fits reports whether a value certainly stays as it is, after it has filled in defaults.
func (sh *shape) fits(value any) bool {
	if sh == nil {
		return false
	}
	switch value := value.(type) {
	case nil:
		return false
	case map[string]any:
		return sh.fitsObject(value, false)
	case []any:
		for _, e := range value {
			if sh.hasItems && !sh.items.fits(e) || !sh.hasItems && !isPlain(e) {
				return false
			}
		}
	}
	return true
}

// isPlain reports whether a value has nothing within.
func isPlain(value any) bool {
	switch value.(type) {
	case nil, map[string]any, []any:
		return false
	}
	return true
}

// fitsObject is fits for an object; of the root apiVersion, kind and metadata are left out.
func (sh *shape) fitsObject(object map[string]any, root bool) bool {
	for _, missing := range sh.defaults {
		if _, ok := object[missing.name]; !ok {
			object[missing.name] = runtime.DeepCopyJSONValue(missing.value)
		}
	}
	for name, value := range object {
		if root && (name == "apiVersion" || name == "kind" || name == "metadata") {
			continue
		}
		property, ok := sh.properties[name]
		switch {
		case ok && property.fits(value), !ok && sh.hasOthers && sh.others.fits(value), !ok && !sh.hasOthers && sh.unknown:
		default:
			return false
		}
	}
	return true
}

// settled fills in defaults of an object of the definition's kind that was read, stored or not, and reports whether what else is done to
// it certainly changes nothing, and has nothing to say.
func (s *schemas) settled(u *unstructured.Unstructured, gvk schema.GroupVersionKind, stored bool) bool {
	metadata, ok := u.Object["metadata"].(map[string]any)
	sh := s.shapes[gvk.Version]
	return ok && sh != nil && gvk.GroupKind() == s.groupKind &&
		u.Object["kind"] == gvk.Kind && u.Object["apiVersion"] == gvk.GroupVersion().String() &&
		settledMetadata(metadata) && (!stored || metadata["generation"] != nil) && sh.fitsObject(u.Object, true)
}

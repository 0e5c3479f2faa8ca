package edit

import (
	"encoding/json"
	"strings"
)

// Document is an OpenAPI document, of v2 or v3, as encoding/json decodes it: what has to be changed is alike in both, so it is
// not worth two sets of types.
type Document map[string]any

// Parse reads a document.
func Parse(body []byte) (Document, error) {
	doc := Document{}
	err := json.Unmarshal(body, &doc)
	return doc, err
}

// isV2 tells the two apart.
func (d Document) isV2() bool { return d["swagger"] != nil }

// Paths has the operations.
func (d Document) Paths() map[string]any { return Child(d, "paths") }

// Schemas has the schemas by name.
func (d Document) Schemas() map[string]any {
	if d.isV2() {
		return Child(d, "definitions")
	}
	return Child(Child(d, "components"), "schemas")
}

// Parameters has those of v2 that operations share; v3 repeats them.
func (d Document) Parameters() map[string]any { return Child(d, "parameters") }

// Child is the object in a field, empty when there is none.
func Child(object map[string]any, field string) map[string]any {
	value, _ := object[field].(map[string]any)
	return value
}

// Objects calls visit for every object in a value.
func Objects(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, v := range value {
			Objects(v, visit)
		}
	case []any:
		for _, v := range value {
			Objects(v, visit)
		}
	}
}

// Reference returns the section and the name that a reference points to: "#/components/schemas/X" is "schemas", "X".
func Reference(object map[string]any) (section, name string, ok bool) {
	ref, ok := object["$ref"].(string) // an object of properties may have one of this name
	if !ok {
		return "", "", false
	}
	parts := strings.Split(ref, "/")
	if len(parts) < 3 {
		return "", "", false
	}
	return parts[len(parts)-2], parts[len(parts)-1], true
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// document is an OpenAPI document, of v2 or v3, as encoding/json decodes it: what has to be changed is alike in both, so it is
// not worth two sets of types.
type document map[string]any

func read(path string) (document, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	doc := document{}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// isV2 tells the two apart.
func (d document) isV2() bool { return d["swagger"] != nil }

// paths has the operations.
func (d document) paths() map[string]any { return child(d, "paths") }

// schemas has the schemas by name.
func (d document) schemas() map[string]any {
	if d.isV2() {
		return child(d, "definitions")
	}
	return child(child(d, "components"), "schemas")
}

// parameters has those of v2 that operations share; v3 repeats them.
func (d document) parameters() map[string]any { return child(d, "parameters") }

// child is the object in a field, empty when there is none.
func child(object map[string]any, field string) map[string]any {
	value, _ := object[field].(map[string]any)
	return value
}

// objects calls visit for every object in a value.
func objects(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, v := range value {
			objects(v, visit)
		}
	case []any:
		for _, v := range value {
			objects(v, visit)
		}
	}
}

// reference returns the section and the name that a reference points to: "#/components/schemas/X" is "schemas", "X".
func reference(object map[string]any) (section, name string, ok bool) {
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

package main

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/kayak-k8s/kayak/internal/openapi/edit"
	"github.com/kayak-k8s/kayak/internal/version"
)

// setFeatures makes a golden document that of a server with the default features.
func setFeatures(d edit.Document) error {
	served := version.Info()
	edit.Child(d, "info")["version"] = served.Major + "." + served.Minor
	edit.Objects(d.Paths(), dropCBOR)
	definitions := generated.GetOpenAPIDefinitions(func(path string) spec.Ref {
		return spec.MustCreateRef("#/definitions/" + path)
	})
	return addEnums(d.Schemas(), definitions)
}

// dropCBOR takes the media types of CBOR out of an object: in v3 they are fields, in v2 values of lists
// (feature CBORServingAndStorage).
func dropCBOR(object map[string]any) {
	for field, value := range object {
		if isCBOR(field) {
			delete(object, field)
		}
		if list, ok := value.([]any); ok && (field == "consumes" || field == "produces") {
			object[field] = slices.DeleteFunc(list, isCBOR)
		}
	}
}

func isCBOR(mediaType any) bool {
	name, _ := mediaType.(string)
	kind, subtype, _ := strings.Cut(name, "/")
	return kind == "application" && (subtype == "cbor" || subtype == "cbor-seq" || strings.HasSuffix(subtype, "+cbor"))
}

// addEnums gives schemas the enums that upstream's definitions have, with their descriptions, which explain the values
// (feature OpenAPIEnums). Upstream's golden documents were written with both cut out
// (k8s.io/apiserver/pkg/util/openapi, GetOpenAPIDefinitionsWithoutDisabledFeatures).
func addEnums(schemas map[string]any, definitions map[string]common.OpenAPIDefinition) error {
	for name, schema := range schemas {
		definition, ok := definitions[name]
		if !ok {
			return fmt.Errorf("upstream has no definition of the schema %s", name)
		}
		overlay(schema, &definition.Schema)
	}
	return nil
}

func overlay(target any, from *spec.Schema) {
	schema, ok := target.(map[string]any)
	if !ok || from == nil {
		return
	}
	if len(from.Enum) > 0 {
		schema["enum"], schema["description"] = from.Enum, from.Description
	}
	properties := edit.Child(schema, "properties")
	for name := range from.Properties {
		property := from.Properties[name]
		overlay(properties[name], &property)
	}
	if from.Items != nil {
		overlay(schema["items"], from.Items.Schema)
	}
	if from.AdditionalProperties != nil {
		overlay(schema["additionalProperties"], from.AdditionalProperties.Schema)
	}
}

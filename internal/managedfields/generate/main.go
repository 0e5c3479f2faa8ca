// Command generate writes the file of types that package managedfields embeds: what kube-apiserver works out of its OpenAPI
// definitions at every start (k8s.io/apiserver/pkg/server, getOpenAPIModels). Run it with "go generate
// ./internal/managedfields" after a change of the Kubernetes version; a test says when that was forgotten.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"slices"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	namer "k8s.io/apiserver/pkg/endpoints/openapi"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/kayak-k8s/kayak/internal/managedfields/typeschema"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := types()
	if err != nil {
		return err
	}
	var file bytes.Buffer
	w, err := gzip.NewWriterLevel(&file, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, %d uncompressed\n", path, file.Len(), len(text))
	return os.WriteFile(path, file.Bytes(), 0o644)
}

// types returns the text of all types.
func types() (string, error) {
	definitions, kinds, err := definitions()
	if err != nil {
		return "", err
	}
	types, err := schemaconv.ToSchemaFromOpenAPI(definitions, false)
	if err != nil {
		return "", err
	}
	return typeschema.Encode(types.Types, kinds)
}

// schemes are those of the three servers that kube-apiserver consists of.
func schemes() []*runtime.Scheme {
	extensions, registration := runtime.NewScheme(), runtime.NewScheme()
	apiextensions.Install(extensions)
	apiregistration.Install(registration)
	return []*runtime.Scheme{legacyscheme.Scheme, extensions, registration}
}

// definitions returns the OpenAPI definitions that kube-apiserver has of its kinds, and their names by kind.
func definitions() (map[string]*spec.Schema, map[schema.GroupVersionKind]string, error) {
	schemes := schemes()
	known := generated.GetOpenAPIDefinitions(func(string) spec.Ref { return spec.Ref{} })
	kinds := map[schema.GroupVersionKind]string{}
	var names []string
	for _, scheme := range schemes {
		for gvk := range scheme.AllKnownTypes() {
			if gvk.Version == runtime.APIVersionInternal {
				continue
			}
			name, err := scheme.ToOpenAPIDefinitionName(gvk)
			if err != nil {
				return nil, nil, err
			}
			if _, ok := known[name]; !ok {
				continue // internal types that are registered as if they were of a version
			}
			kinds[gvk] = name
			names = append(names, name)
		}
	}
	slices.Sort(names)
	config := &common.OpenAPIV3Config{
		GetDefinitions:    generated.GetOpenAPIDefinitions,
		GetDefinitionName: namer.NewDefinitionNamer(schemes...).GetDefinitionName,
		Info:              &spec.Info{},
	}
	definitions, err := builder3.BuildOpenAPIDefinitionsForResources(config, slices.Compact(names)...)
	return definitions, kinds, err
}

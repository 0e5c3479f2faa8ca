package custom

import (
	"encoding/json"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/kayak-k8s/kayak/internal/openapi"
)

// Documents describes the OpenAPI documents of all established definitions. They are built when they are read.
func (r *Registry) Documents() []openapi.Custom {
	r.Table()
	r.mu.Lock()
	defer r.mu.Unlock()
	byPath := map[string]*group{}
	for _, d := range r.definitions {
		if !d.condition(apiextensionsv1.Established) {
			continue
		}
		for _, resource := range d.resources {
			path := "apis/" + resource.Version.String()
			if byPath[path] == nil {
				byPath[path] = &group{registry: r, version: resource.Version.Version}
			}
			byPath[path].definitions = append(byPath[path].definitions, d)
		}
	}
	paths := make([]string, 0, len(byPath))
	for path := range byPath {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	list := make([]openapi.Custom, len(paths))
	for i, path := range paths {
		g := byPath[path]
		list[i] = openapi.Custom{Path: path, Edition: g.edition(), V3: g.v3, V2: g.v2}
	}
	return list
}

// group are the definitions of a group version.
type group struct {
	registry    *Registry
	version     string
	definitions []*definition
}

func (g *group) edition() string {
	editions := make([]string, len(g.definitions))
	for i, d := range g.definitions {
		editions[i] = d.edition
	}
	slices.Sort(editions)
	text, _ := json.Marshal(editions) // strings can be marshaled
	return string(text)
}

func (g *group) v3() ([]byte, error) {
	var documents []*spec3.OpenAPI
	err := g.each(func(crd *apiextensionsv1.CustomResourceDefinition) error {
		document, err := builder.BuildOpenAPIV3(crd, g.version, builder.Options{IncludeSelectableFields: true})
		documents = append(documents, document)
		return err
	})
	if err != nil {
		return nil, err
	}
	merged, err := builder.MergeSpecsV3(documents...)
	if err != nil {
		return nil, err
	}
	return json.Marshal(merged)
}

func (g *group) v2() ([]byte, error) {
	merged := &spec.Swagger{}
	err := g.each(func(crd *apiextensionsv1.CustomResourceDefinition) error {
		document, err := builder.BuildOpenAPIV2(crd, g.version, builder.Options{V2: true, IncludeSelectableFields: true})
		if err != nil {
			return err
		}
		document.Definitions = handler.PruneDefaults(document.Definitions)
		merged, err = builder.MergeSpecs(merged, document)
		return err
	})
	if err != nil {
		return nil, err
	}
	return merged.MarshalJSON()
}

// each decodes the definitions, one after the other.
func (g *group) each(fn func(*apiextensionsv1.CustomResourceDefinition) error) error {
	for _, d := range g.definitions {
		crd, err := g.registry.read(d)
		if err != nil {
			return err
		}
		if err := fn(crd); err != nil {
			return err
		}
	}
	return nil
}

package admission

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// equivalents is a runtime.EquivalentResourceMapper over the table of kinds: resources are the same objects when they are stored
// under the same keys.
type equivalents struct{ table func() *kind.Table }

var _ runtime.EquivalentResourceMapper = equivalents{}

// EquivalentResourcesFor returns all versions of a resource that have the subresource.
func (e equivalents) EquivalentResourcesFor(gvr schema.GroupVersionResource, subresource string) []schema.GroupVersionResource {
	table := e.table()
	r := table.Resource(gvr.Group, gvr.Version, gvr.Resource)
	if r == nil {
		return nil
	}
	var found []schema.GroupVersionResource
	for _, k := range table.Kinds() {
		if k.GroupResource() != r.GroupResource() && (k.Prefix == "" || k.Prefix != r.Prefix) {
			continue
		}
		if subresource != "" && k.Subresources[subresource] == nil {
			continue
		}
		for _, version := range k.Versions {
			found = append(found, schema.GroupVersionResource{Group: k.Group, Version: version, Resource: k.Resource})
		}
	}
	return found
}

// KindFor returns the kind of the bodies of a resource, or of its subresource.
func (e equivalents) KindFor(gvr schema.GroupVersionResource, subresource string) schema.GroupVersionKind {
	r := e.table().Resource(gvr.Group, gvr.Version, gvr.Resource)
	switch {
	case r == nil:
		return schema.GroupVersionKind{}
	case subresource == "":
		return r.GVK()
	}
	sub := r.Subresources[subresource]
	switch {
	case sub == nil:
		return schema.GroupVersionKind{}
	case sub.Face != nil:
		return sub.Face.GVK()
	}
	return r.GVK()
}

// withEquivalents are an object's interfaces with that mapper.
type withEquivalents struct {
	admission.ObjectInterfaces
	mapper runtime.EquivalentResourceMapper
}

func (w withEquivalents) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper {
	return w.mapper
}

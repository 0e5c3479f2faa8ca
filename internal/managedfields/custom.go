package managedfields

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// customManager returns the manager of a custom resource, with types that follow from the definition. It lives with what else is
// compiled of that.
func customManager(r *kind.Resource, sub *kind.Subresource, name string) (*Manager, error) {
	kept, err := r.Custom.Keep("managedfields/"+name, func() (any, error) {
		types, err := r.Custom.Types()
		if err != nil {
			return nil, err
		}
		face := r
		if sub != nil && sub.Face != nil {
			face = sub.Face
		}
		// The hub is the version itself. A Scale, too, is converted and tracked as it is spoken.
		exclude := resetFields(r, sub)
		fields, err := managedfields.NewDefaultCRDFieldManager(types, r.Codec.Convertor, r.Codec.Defaulter, face.Codec.Creater,
			face.GVK(), face.Version, name, fieldpath.NewExcludeFilterSetMap(exclude))
		if err != nil {
			return nil, fmt.Errorf("managed fields of %v %s: %w", r.GVR(), name, err)
		}
		m := &Manager{fields: fields}
		if reset, ok := fieldsetOf(exclude[fieldpath.APIVersion(r.Version.String())]); ok && face == r {
			if shape := customShape(r, types); shape != nil {
				m.updater = &updater{gvk: r.GVK(), subresource: name, reset: reset, never: neverOwned(), now: time.Now, shape: shape}
			}
		}
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return kept.(*Manager), nil
}

// customShape is the shape of a custom resource's objects, for all its subresources; nil if there is none.
func customShape(r *kind.Resource, types managedfields.TypeConverter) *shape {
	kept, err := r.Custom.Keep("shape", func() (any, error) {
		empty, err := Empty(r)
		if err != nil {
			return nil, err
		}
		object, err := types.ObjectToTyped(empty, typed.AllowDuplicates)
		if err != nil {
			return nil, err
		}
		return shapeOf(object), nil
	})
	if err != nil {
		return nil
	}
	return kept.(*shape)
}

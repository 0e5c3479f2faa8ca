package managedfields

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// customManager returns the manager of a custom resource: upstream's alone, with types that follow from the definition. It lives with
// what else is compiled of that.
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
		fields, err := managedfields.NewDefaultCRDFieldManager(types, r.Codec.Convertor, r.Codec.Defaulter, face.Codec.Creater,
			face.GVK(), face.Version, name, fieldpath.NewExcludeFilterSetMap(resetFields(r, sub)))
		if err != nil {
			return nil, fmt.Errorf("managed fields of %v %s: %w", r.GVR(), name, err)
		}
		return &Manager{fields: fields}, nil
	})
	if err != nil {
		return nil, err
	}
	return kept.(*Manager), nil
}

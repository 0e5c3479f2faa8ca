package verb

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kayak-k8s/kayak/internal/managedfields"
)

// applies says that the patch is a configuration to apply.
func (p *patcher) applies() bool { return p.typ == types.ApplyYAMLPatchType }

// applyConfiguration merges an applied configuration into the existing object, or into an empty one (server-side apply).
func (p *patcher) applyConfiguration(existing runtime.Object, exists bool) (runtime.Object, error) {
	manager, err := p.api.Fields.Manager(p.call.Resource, p.call.Sub)
	if err != nil {
		return nil, err
	}
	if !exists {
		if existing, err = managedfields.Empty(p.call.face()); err != nil {
			return nil, fmt.Errorf("failed to create new object: %v", err)
		}
	}
	configuration := &unstructured.Unstructured{Object: map[string]any{}}
	if p.configuration != nil {
		configuration.Object = runtime.DeepCopyJSON(p.configuration) // it may be applied again
	} else if err := yaml.Unmarshal(p.body, &configuration.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if err := checkPatchedQuantities(p.call.face(), p.body, configuration.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	force := p.options.Force != nil && *p.options.Force
	obj, err := manager.Apply(existing, configuration, p.options.FieldManager, force)
	if err != nil {
		return nil, err
	}
	return obj, p.checkDuplicates()
}

// checkDuplicates warns of fields that are there twice, or refuses them. Fields that are not known do not get this far.
func (p *patcher) checkDuplicates() error {
	if !strict(p.options.FieldValidation) || p.configuration != nil {
		return nil
	}
	err := yaml.UnmarshalStrict(p.body, &map[string]any{})
	if err == nil {
		return nil
	}
	if p.options.FieldValidation == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
	}
	addStrictWarnings(p.ctx, []error{err})
	return nil
}

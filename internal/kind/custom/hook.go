package custom

import (
	"context"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Hook makes the registry that of the kind CustomResourceDefinition, which must be among kinds, and not part of a table yet.
func (r *Registry) Hook(kinds ...*kind.Kind) {
	for _, k := range kinds {
		if k.GroupResource() != apiextensions.Resource("customresourcedefinitions") {
			continue
		}
		wrapped := &definitionStrategy{k.Create.(definitionUpstream), r}
		k.Create, k.Update = wrapped, wrapped
		k.BeginCreate = func(_ context.Context, obj runtime.Object, options *metav1.CreateOptions) (kind.Finish, error) {
			return r.finish(obj, options.DryRun), nil
		}
		k.BeginUpdate = func(_ context.Context, obj, _ runtime.Object, options *metav1.UpdateOptions) (kind.Finish, error) {
			return r.finish(obj, options.DryRun), nil
		}
	}
}

// definitionUpstream is upstream's strategy for definitions.
type definitionUpstream interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	rest.ResetFieldsStrategy
}

// definitionStrategy is upstream's strategy, but for what happens to a definition that has been found valid.
type definitionStrategy struct {
	definitionUpstream
	registry *Registry
}

// Validate implements rest.RESTCreateStrategy.
func (s *definitionStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return bounded(s.definitionUpstream.Validate(ctx, obj))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s *definitionStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return bounded(s.definitionUpstream.ValidateUpdate(ctx, obj, old))
}

// Canonicalize gives a valid definition its accepted names and its conditions: it is the last that happens to it before it is
// written.
func (s *definitionStrategy) Canonicalize(obj runtime.Object) {
	s.definitionUpstream.Canonicalize(obj)
	crd := obj.(*apiextensions.CustomResourceDefinition)
	if !crd.DeletionTimestamp.IsZero() {
		return
	}
	r := s.registry
	r.Table()
	r.mu.Lock()
	defer r.mu.Unlock()
	settle(crd, r.taken(crd.Spec.Group, crd.Name))
	r.names[crd.Name] = reservation{
		group: crd.Spec.Group, names: *crd.Status.AcceptedNames.DeepCopy(), expires: time.Now().Add(reservationTime),
	}
}

// followTime bounds the wait for the state to have what was written.
const followTime = 5 * time.Second

// finish ends a write: its names are free again if it failed; otherwise what it has changed is served before it is answered.
func (r *Registry) finish(obj runtime.Object, dryRun []string) kind.Finish {
	return func(ctx context.Context, written bool) {
		if !written || len(dryRun) > 0 {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.names, obj.(*apiextensions.CustomResourceDefinition).Name)
			return
		}
		ctx, cancel := context.WithTimeout(ctx, followTime)
		defer cancel()
		// Without an answer the definition is served all the same, a moment later.
		if _, err := r.options.API.State.Consistent(ctx); err == nil {
			r.Table()
		}
	}
}

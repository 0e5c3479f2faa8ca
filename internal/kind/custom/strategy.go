package custom

import (
	"context"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// upstream is what customresource.NewStrategy returns, a type without a name outside of its package.
type upstream interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	rest.ResetFieldsStrategy
	GetAttrs(obj runtime.Object) (labels.Set, fields.Set, error)
}

// strategy is upstream's, once it is needed. What upstream's would say without its schema is said here.
type strategy struct{ form *form }

func (s *strategy) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	return objects{}.ObjectKinds(obj)
}
func (s *strategy) Recognizes(gvk schema.GroupVersionKind) bool { return objects{}.Recognizes(gvk) }
func (s *strategy) GenerateName(base string) string {
	return names.SimpleNameGenerator.GenerateName(base)
}
func (s *strategy) NamespaceScoped() bool                    { return s.form.compiler.definition.namespaced() }
func (s *strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate says that an update must name the resourceVersion that it is of.
func (s *strategy) AllowUnconditionalUpdate(context.Context) bool { return false }
func (s *strategy) Canonicalize(runtime.Object)                   {}

func (s *strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if c, err := s.form.compiled(); err == nil { // if not, Validate says so
		c.strategy.PrepareForCreate(ctx, obj)
	}
}

func (s *strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	c, err := s.form.compiled()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return bounded(c.strategy.Validate(ctx, obj))
}

func (s *strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	c, err := s.form.compiled()
	if err != nil {
		return nil
	}
	return c.strategy.WarningsOnCreate(ctx, obj)
}

func (s *strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if c, err := s.form.compiled(); err == nil {
		c.strategy.PrepareForUpdate(ctx, obj, old)
	}
}

func (s *strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	c, err := s.form.compiled()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return bounded(c.strategy.ValidateUpdate(ctx, obj, old))
}

func (s *strategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	c, err := s.form.compiled()
	if err != nil {
		return nil
	}
	return c.strategy.WarningsOnUpdate(ctx, obj, old)
}

func (s *strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	v := s.form.version
	if v.Subresources == nil || v.Subresources.Status == nil {
		return map[fieldpath.APIVersion]*fieldpath.Set{}
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.form.gvk.GroupVersion().String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

// statusStrategy is that of the subresource status.
type statusStrategy struct{ strategy }

func (s *statusStrategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if c, err := s.form.compiled(); err == nil {
		c.status.PrepareForUpdate(ctx, obj, old)
	}
}

func (s *statusStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	c, err := s.form.compiled()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return bounded(c.status.ValidateUpdate(ctx, obj, old))
}

func (s *statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields are those of all versions that have the subresource.
func (s *statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	reset := map[fieldpath.APIVersion]*fieldpath.Set{}
	d := s.form.compiler.definition
	for _, v := range d.Spec.Versions {
		if v.Subresources != nil && v.Subresources.Status != nil {
			reset[fieldpath.APIVersion(d.gvk(v.Name).GroupVersion().String())] = fieldpath.NewSet(
				fieldpath.MakePathOrDie("metadata"), fieldpath.MakePathOrDie("spec"))
		}
	}
	return reset
}

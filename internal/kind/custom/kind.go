package custom

import (
	"context"
	"errors"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// newKind describes a version. Each version is a kind of its own with itself as the hub, as upstream has it: objects are validated
// by the schema of the version that they are written in.
func (d *definition) newKind(v *headVersion) *kind.Kind {
	names := &d.Status.AcceptedNames
	gvk := d.gvk(v.Name)
	f := &form{compiler: d.compiled, version: v, gvk: gvk}
	s := &strategy{form: f}
	k := &kind.Kind{
		Group: d.Spec.Group, Resource: names.Plural, Name: names.Kind, Singular: names.Singular, ListName: names.ListKind,
		ShortNames: names.ShortNames, Categories: names.Categories,
		Namespaced: d.namespaced(),
		Prefix:     d.prefix(),
		Storage:    schema.GroupVersion{Group: d.Spec.Group, Version: d.storageVersion()}, Versions: []string{v.Name},
		New: func() runtime.Object {
			obj := &unstructured.Unstructured{}
			obj.SetGroupVersionKind(gvk)
			return obj
		},
		NewList: func() runtime.Object {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(gvk.GroupVersion().WithKind(names.ListKind))
			return list
		},
		Codec:  f.codec(),
		Create: s, Update: s, Delete: s,
		Attributes: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			c, err := f.compiled()
			if err != nil {
				return nil, nil, err
			}
			return c.strategy.GetAttrs(obj)
		},
		Columns:      columns{f},
		Discovered:   d.discovered(),
		BeginCreate:  d.beginCreate,
		Subresources: map[string]*kind.Subresource{},
		Custom: &kind.Custom{
			Edition: d.edition, Done: d.done, Types: d.compiled.types, Lighten: lighten,
			Keep: func(name string, make func() (any, error)) (any, error) {
				return d.compiled.keep(v.Name+"/"+name, make)
			},
		},
	}
	if v.Subresources != nil && v.Subresources.Status != nil {
		k.Subresources["status"] = &kind.Subresource{Name: "status", Update: &statusStrategy{strategy{form: f}}}
	}
	if v.Subresources != nil && v.Subresources.Scale != nil {
		k.Subresources["scale"] = d.scale(f, v.Subresources.Scale)
	}
	return k
}

// discovered are the verbs that discovery shows: what brings objects no longer once the definition is terminating, though it is
// served (customresource_discovery_controller.go).
func (d *definition) discovered() []string {
	if d.ending.Load() {
		return []string{"delete", "deletecollection", "get", "list", "watch"}
	}
	return []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
}

// showAgain makes the resources anew, for discovery, when the definition has begun to terminate. It reports whether there are any.
func (d *definition) showAgain() bool {
	shown := make([]*kind.Resource, len(d.resources))
	for i, resource := range d.resources {
		next, described := *resource, *resource.Kind
		described.Discovered = d.discovered()
		next.Kind = &described
		shown[i] = &next
	}
	d.resources = shown
	return len(shown) > 0
}

// beginCreate refuses new objects once the definition is to go (customresource_handler.go, forbidCreateAdmission).
func (d *definition) beginCreate(_ context.Context, obj runtime.Object, _ *metav1.CreateOptions) (kind.Finish, error) {
	if !d.ending.Load() {
		return nil, nil
	}
	name := ""
	if accessor, err := meta.Accessor(obj); err == nil {
		name = accessor.GetName()
	}
	return nil, apierrors.NewForbidden(d.groupResource(), name,
		errors.New("create not allowed while custom resource definition is terminating"))
}

// columns makes tables with the columns that the definition has for a version.
type columns struct{ form *form }

func (c columns) ConvertToTable(ctx context.Context, obj runtime.Object, options runtime.Object) (*metav1.Table, error) {
	compiled, err := c.form.compiled()
	if err != nil {
		return nil, err
	}
	return compiled.columns.ConvertToTable(ctx, obj, options)
}

// ageColumn is the one that there is without others.
func ageColumn() apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{
		Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], JSONPath: ".metadata.creationTimestamp",
	}
}

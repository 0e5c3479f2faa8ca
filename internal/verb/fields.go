package verb

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	scalefields "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/warning"

	"github.com/kayak-k8s/kayak/internal/managedfields"
)

// serverManager owns what the server writes of its own accord: upstream does so through a client, whose User-Agent begins
// with the name of the program.
const serverManager = "kube-apiserver"

// fieldManager is who the fields belong to that the request sets.
func (c *Call) fieldManager(option string) string {
	if c.Request == nil && option == "" {
		return serverManager
	}
	userAgent := ""
	if c.Request != nil {
		userAgent = c.Request.UserAgent()
	}
	return managedfields.Name(option, userAgent)
}

// track gives obj, which a write makes of live, its managed fields.
func (a *API) track(c *Call, live, obj runtime.Object, option string) (runtime.Object, error) {
	if a.Fields == nil {
		return obj, nil
	}
	manager, err := a.Fields.Manager(c.Resource, c.Sub)
	if err != nil {
		return nil, err
	}
	return manager.Update(live, obj, c.fieldManager(option)), nil
}

// trackCreate gives a new object its managed fields.
func (a *API) trackCreate(c *Call, obj runtime.Object, option string) (runtime.Object, error) {
	if a.Fields == nil {
		return obj, nil
	}
	empty, err := managedfields.Empty(c.face())
	if err != nil {
		return nil, fmt.Errorf("failed to create new object (Create for %v): %v", c.face().GVK(), err)
	}
	return a.track(c, empty, obj, option)
}

// next is the new object of a change, with its managed fields.
func (a *API) next(c *Call, ch *change, existing runtime.Object) (runtime.Object, error) {
	obj, err := ch.next(existing)
	if err != nil || ch.applies {
		return obj, err
	}
	if ch.withoutFields {
		if accessor, err := meta.Accessor(obj); err == nil {
			accessor.SetManagedFields(nil)
		}
		return obj, nil
	}
	return a.track(c, existing, obj, ch.options.FieldManager)
}

// keepValidFields puts managed fields back that admission has made invalid, with a warning.
func keepValidFields(ctx context.Context, obj runtime.Object, admit func() error) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return admit()
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return keepValidFieldsOfMap(ctx, u, admit)
	}
	before := accessor.GetManagedFields()
	kept := slices.Clone(before)
	if err := admit(); err != nil {
		return err
	}
	after := accessor.GetManagedFields()
	if slices.Equal(kept, after) {
		return nil // they are the same down to the pointers, so nobody needs to read them
	}
	if err := managedfields.Valid(after); err != nil {
		accessor.SetManagedFields(kept)
		warning.AddWarning(ctx, "", fmt.Sprintf(managedfields.InvalidWarning, err))
	}
	return nil
}

// keepValidFieldsOfMap is keepValidFields for an object that has no entries, but what they are made of: they are only made if
// admission has put something else there.
func keepValidFieldsOfMap(ctx context.Context, u *unstructured.Unstructured, admit func() error) error {
	entries := func() []any {
		metadata, _ := u.Object["metadata"].(map[string]any)
		list, _ := metadata["managedFields"].([]any)
		return list
	}
	before := entries()
	if err := admit(); err != nil {
		return err
	}
	after := entries()
	if len(before) == len(after) && (len(after) == 0 || &before[0] == &after[0]) {
		return nil
	}
	if err := managedfields.Valid(u.GetManagedFields()); err != nil {
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		if len(before) > 0 {
			_ = unstructured.SetNestedField(u.Object, before, "metadata", "managedFields") // metadata was an object before
		}
		warning.AddWarning(ctx, "", fmt.Sprintf(managedfields.InvalidWarning, err))
	}
	return nil
}

// A Scale has no managed fields of its own. For the time of a write it shows those of the object that are about the number of
// replicas; afterwards they go back there (registry/apps/deployment/storage/storage.go, scaleUpdatedObjectInfo).

// viewWithFields is view, with managed fields where the view is a Scale.
func (c *Call) viewWithFields(existing runtime.Object) (runtime.Object, error) {
	view, err := c.viewForWrite(existing)
	if err != nil {
		return nil, err
	}
	fields, err := c.scaleFields(existing)
	if err != nil || fields == nil {
		return view, err
	}
	entries, err := fields.ToSubresource()
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(view)
	if err != nil {
		return nil, err
	}
	accessor.SetManagedFields(entries)
	return view, nil
}

// fieldsFromView gives obj the managed fields that its changed view leads to.
func (c *Call) fieldsFromView(obj, view runtime.Object) error {
	fields, err := c.scaleFields(obj)
	if err != nil || fields == nil {
		return err
	}
	from, err := meta.Accessor(view)
	if err != nil {
		return err
	}
	entries, err := fields.ToParent(from.GetManagedFields())
	if err != nil {
		return err
	}
	to, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	to.SetManagedFields(entries)
	return nil
}

// scaleFields translates the managed fields of a scaled object; nil when the view is no Scale.
func (c *Call) scaleFields(obj runtime.Object) (*scalefields.ScaleHandler, error) {
	if c.Sub == nil || c.Sub.View == nil || c.Sub.View.Replicas == nil {
		return nil, nil
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	version := schema.GroupVersion{Group: c.Resource.Group, Version: c.Resource.Version.Version}
	if _, ok := c.Sub.View.Replicas[version.String()]; !ok {
		version = c.Resource.Storage
	}
	return scalefields.NewScaleHandler(accessor.GetManagedFields(), version, c.Sub.View.Replicas), nil
}

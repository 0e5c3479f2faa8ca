package verb

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/state"
)

// What follows is the verbs for the server's own use: by its controllers and by actions such as an eviction. Objects are of
// the hub version, and the caller's to change. Errors are those that a client would get.

// AsServer returns a context whose user is the server itself, who may do everything.
func AsServer(ctx context.Context) context.Context {
	return genericrequest.WithUser(ctx, &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}})
}

// inside makes the call that a client's request would have become.
func (a *API) inside(ctx context.Context, verb string, r *kind.Resource, sub, namespace, name string) (context.Context, *Call) {
	info := &request.Info{
		IsResourceRequest: true, Verb: verb, APIGroup: r.Version.Group, APIVersion: r.Version.Version,
		Resource: r.Kind.Resource, Subresource: sub, Namespace: namespace, Name: name,
	}
	ctx = genericrequest.WithNamespace(genericrequest.WithRequestInfo(ctx, info), namespace)
	return ctx, &Call{Info: info, Resource: r, Sub: r.Subresources[sub]}
}

// GetObject reads an object as it is now: every write that was acknowledged before is seen.
func (a *API) GetObject(ctx context.Context, r *kind.Resource, namespace, name string) (runtime.Object, error) {
	_, c := a.inside(ctx, "get", r, "", namespace, name)
	snapshot, err := a.State.Consistent(ctx)
	if err != nil {
		return nil, storeError(err, c)
	}
	record := snapshot.Get(c.key(a.Root))
	if record == nil {
		return nil, c.notFound()
	}
	return decode(r.Kind, record)
}

// ListObjects reads the objects of a namespace, or of all ("") as they are now, in the order of their keys.
func (a *API) ListObjects(ctx context.Context, r *kind.Resource, namespace string) ([]runtime.Object, error) {
	_, c := a.inside(ctx, "list", r, "", namespace, "")
	snapshot, err := a.State.Consistent(ctx)
	if err != nil {
		return nil, storeError(err, c)
	}
	var list []runtime.Object
	snapshot.Ascend(r.KeyPrefix(a.Root, namespace), "", func(record *state.Record) bool {
		var obj runtime.Object
		if obj, err = decode(r.Kind, record); err == nil {
			list = append(list, obj)
		}
		return err == nil
	})
	return list, err
}

// CreateObject creates an object, as the user in the context would, admission and all. obj must not be used afterwards.
func (a *API) CreateObject(ctx context.Context, r *kind.Resource, namespace string, obj runtime.Object) (runtime.Object, error) {
	return a.CreateObjectWith(ctx, r, namespace, obj, &metav1.CreateOptions{})
}

// CreateObjectWith is CreateObject with options.
func (a *API) CreateObjectWith(ctx context.Context, r *kind.Resource, namespace string, obj runtime.Object, options *metav1.CreateOptions) (runtime.Object, error) {
	ctx, c := a.inside(ctx, "create", r, "", namespace, "")
	options = options.DeepCopy()
	options.TypeMeta = optionsType("CreateOptions")
	return a.createObject(ctx, c, obj, options)
}

// UpdateObject changes an object, or a part of it when sub names a subresource, as the user in the context would: through the
// strategy and admission. next makes the new object out of its argument, which is its to change, and is called again when
// somebody else was faster; an error from it ends the update.
func (a *API) UpdateObject(ctx context.Context, r *kind.Resource, sub, namespace, name string, options *metav1.UpdateOptions, next func(runtime.Object) (runtime.Object, error)) (runtime.Object, error) {
	ctx, c := a.inside(ctx, "update", r, sub, namespace, name)
	options = options.DeepCopy()
	options.TypeMeta = optionsType("UpdateOptions")
	obj, _, err := a.changeObject(ctx, c, &change{
		next:    func(existing runtime.Object) (runtime.Object, error) { return next(existing.DeepCopyObject()) },
		options: options,
	})
	return obj, err
}

// ApplyObject applies a configuration, in JSON, to an object, as the user in the context would (server-side apply). The API must
// have Fields.
func (a *API) ApplyObject(ctx context.Context, r *kind.Resource, namespace, name string, configuration []byte, options *metav1.PatchOptions) (runtime.Object, error) {
	ctx, c := a.inside(ctx, "patch", r, "", namespace, name)
	options = options.DeepCopy()
	options.TypeMeta = optionsType("PatchOptions")
	p := &patcher{ctx: ctx, api: a, call: c, typ: types.ApplyYAMLPatchType, body: configuration, options: options}
	obj, _, err := a.changeObject(ctx, c, &change{
		next: p.next, applies: true,
		options: &metav1.UpdateOptions{
			TypeMeta: optionsType("UpdateOptions"), DryRun: options.DryRun,
			FieldManager: options.FieldManager, FieldValidation: options.FieldValidation,
		},
	})
	return obj, err
}

// RewriteObject changes what is stored of an object, without strategy or admission, for actions that have rules of their own:
// a binding, say. next is as for UpdateObject.
func (a *API) RewriteObject(ctx context.Context, r *kind.Resource, namespace, name string, dryRun bool, next func(runtime.Object) (runtime.Object, error)) (runtime.Object, error) {
	ctx, c := a.inside(ctx, "update", r, "", namespace, name)
	result, err := a.commit(ctx, r.Kind, c.key(a.Root), dryRun, func(existing runtime.Object, revision int64) (decision, error) {
		if revision == 0 {
			return decision{}, c.notFound()
		}
		obj, err := next(existing)
		return decision{action: put, obj: obj}, err
	})
	return result.obj, storeError(err, c)
}

// DeleteObject deletes an object, as the user in the context would. It returns what a client would get, and whether the object
// is gone.
func (a *API) DeleteObject(ctx context.Context, r *kind.Resource, namespace, name string, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	ctx, c := a.inside(ctx, "delete", r, "", namespace, name)
	options = options.DeepCopy()
	options.TypeMeta = optionsType("DeleteOptions")
	if err := c.beforeDelete(ctx, options); err != nil {
		return nil, false, err
	}
	obj, gone, err := a.deleteObject(ctx, c, name, options)
	return obj, gone, storeError(err, c)
}

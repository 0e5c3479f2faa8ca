package verb

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kayak-k8s/kayak/internal/request"
)

// Some things are not kept under a key of their own: reviews, bindings, evictions, component statuses. They come with a
// rest.Storage, which does the work; what is around that is the same as for everything else.

// storage is what serves the request when it is not the store, or nil.
func (c *Call) storage() rest.Storage {
	if c.Sub != nil {
		return c.Sub.Storage
	}
	return c.Resource.Virtual
}

// preservesMetadata reports whether an action's body may say what otherwise only the server says, such as a uid.
func (c *Call) preservesMetadata() bool {
	if c.Sub == nil {
		return false
	}
	preserver, ok := c.Sub.Storage.(rest.SubresourceObjectMetaPreserver)
	return ok && preserver.PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate()
}

// createElsewhere is createObject for what is not stored.
func (a *API) createElsewhere(ctx context.Context, c *Call, obj runtime.Object, options *metav1.CreateOptions) (runtime.Object, error) {
	name := c.Info.Name
	if accessor, err := meta.Accessor(obj); err == nil && name == "" {
		name = accessor.GetName()
	}
	dedupOwners(ctx, obj, duplicateOwnersWarning)
	obj, err := a.trackCreate(c, obj, options.FieldManager)
	if err != nil {
		return nil, err
	}
	attributes := c.attributes(ctx, obj, nil, name, admission.Create, options, isDryRun(options.DryRun))
	if err := a.mutate(ctx, c, attributes); err != nil {
		return nil, err
	}
	dedupOwners(ctx, obj, duplicateOwnersAfterWarning)
	validate := rest.AdmissionToValidateObjectFunc(a.Admission, attributes, c.objectInterfaces())
	var result runtime.Object
	switch storage := c.storage().(type) {
	case rest.NamedCreater:
		result, err = storage.Create(ctx, name, obj, validate, options)
	case rest.Creater:
		result, err = storage.Create(ctx, obj, validate, options)
	default:
		return nil, notServed()
	}
	if status, ok := result.(*metav1.Status); ok && status.Code == 0 {
		status.Code = http.StatusCreated
	}
	return result, storeError(err, c)
}

// getElsewhere reads one object, or something as a stream.
func (a *API) getElsewhere(ctx context.Context, c *Call) error {
	if storage, ok := c.storage().(rest.GetterWithOptions); ok {
		return a.stream(ctx, c, storage)
	}
	storage, ok := c.storage().(rest.Getter)
	if !ok {
		return notServed()
	}
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	options, err := c.getOptions()
	if err != nil {
		return err
	}
	obj, err := storage.Get(ctx, c.Info.Name, options)
	if err != nil {
		return storeError(err, c)
	}
	return a.respond(ctx, c, out, http.StatusOK, obj)
}

// listElsewhere reads a list.
func (a *API) listElsewhere(ctx context.Context, c *Call) error {
	storage, ok := c.storage().(rest.Lister)
	if !ok {
		return notServed()
	}
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	options, err := c.listOptions()
	if err != nil {
		return err
	}
	list, err := storage.List(ctx, options)
	if err != nil {
		return storeError(err, c)
	}
	return a.respond(ctx, c, out, http.StatusOK, list)
}

// notServed is for what the kind's table promises and nobody has brought an implementation of: to a client, it is not there.
func notServed() error { return request.UnknownResource() }

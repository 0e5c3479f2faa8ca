package verb

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/store"
)

// create stores a new object: decode ▸ mutate ▸ name ▸ prepare and validate ▸ validate admission ▸ write if there is none.
func (a *API) create(ctx context.Context, c *Call) error {
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	media, err := c.bodyMedia()
	if err != nil {
		return err
	}
	body, err := c.readBody(ctx)
	if err != nil {
		return err
	}
	options, err := c.createOptions()
	if err != nil {
		return err
	}
	obj, err := c.decodeBody(ctx, media, body, options.FieldValidation)
	if err != nil {
		return err
	}
	c.auditRequest(obj)
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if !c.preservesMetadata() {
		rest.WipeObjectMetaSystemFields(accessor)
	}
	if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(c.objectNamespace(), accessor); err != nil {
		return err
	}
	if !c.Resource.Namespaced && c.Resource.GroupResource() == (schema.GroupResource{Resource: "namespaces"}) {
		ctx = genericrequest.WithNamespace(ctx, accessor.GetName())
	}
	createObject := a.createObject
	if c.storage() != nil {
		createObject = a.createElsewhere
	}
	c.answer = &out
	created, err := createObject(ctx, c, obj, options)
	if err != nil {
		return err
	}
	return a.respond(ctx, c, out, http.StatusCreated, created)
}

// nameAttempts is how many generated names are tried (upstream's maxNameGenerationCreateAttempts).
const nameAttempts = 8

func (a *API) createObject(ctx context.Context, c *Call, obj runtime.Object, options *metav1.CreateOptions) (runtime.Object, error) {
	obj, err := a.trackCreate(c, obj, options.FieldManager)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	dedupOwners(ctx, obj, duplicateOwnersWarning)
	attributes := c.attributes(ctx, obj, nil, accessor.GetName(), admission.Create, options, isDryRun(options.DryRun))
	if err := a.mutate(ctx, c, attributes); err != nil {
		return nil, err
	}
	dedupOwners(ctx, obj, duplicateOwnersAfterWarning)
	validate := rest.AdmissionToValidateObjectFunc(a.Admission, attributes, c.objectInterfaces())
	created, err := a.insertNamed(ctx, c, obj, validate, options)
	if errors.Is(err, store.ErrTooLarge) && a.Fields != nil {
		// It may be the managed fields that are too much; the object can do without (endpoints/handlers/create.go).
		accessor.SetManagedFields(nil)
		created, err = a.insertNamed(ctx, c, obj, validate, options)
	}
	return created, storeError(err, c)
}

// insertNamed inserts an object, under several names if the name is to be generated.
func (a *API) insertNamed(ctx context.Context, c *Call, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if accessor.GetName() != "" || accessor.GetGenerateName() == "" {
		return a.insert(ctx, c, obj, validate, options)
	}
	for attempt := 1; ; attempt++ {
		created, err := a.insert(ctx, c, obj.DeepCopyObject(), validate, options)
		if err == nil || !apierrors.IsAlreadyExists(err) || attempt == nameAttempts {
			return created, err
		}
	}
}

// insert prepares, validates and writes an object that must not exist yet. Errors of the store are as the store has them.
func (a *API) insert(ctx context.Context, c *Call, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if revision, _, err := parseRevision(accessor.GetResourceVersion()); err == nil && revision != 0 {
		// Upstream's text, and its error 500 (apiserver/pkg/storage/etcd3/store.go, Create).
		return nil, storage.ErrResourceVersionSetOnCreate
	}
	finish, err := c.prepareCreate(ctx, obj, validate, options)
	if err != nil {
		return nil, err
	}
	key := c.Resource.Key(a.Root, accessor.GetNamespace(), accessor.GetName())
	result, conflict, err := a.put(ctx, c.Resource.Kind, key, isDryRun(options.DryRun), current{}, obj, c)
	settle(ctx, finish, conflict != nil, err)
	if conflict != nil {
		return nil, a.alreadyExists(ctx, c, obj, conflict)
	}
	return result.obj, err
}

// prepareCreate gives the object what every new object has, and runs the kind's hook, its strategy and validating admission on
// it. The outcome is to be told to finish.
func (c *Call) prepareCreate(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (finish kind.Finish, err error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	rest.FillObjectMetaSystemFields(accessor)
	if accessor.GetGenerateName() != "" && accessor.GetName() == "" {
		accessor.SetName(c.Resource.Create.GenerateName(accessor.GetGenerateName()))
	}
	if begin := c.Resource.BeginCreate; begin != nil {
		if finish, err = begin(ctx, obj, options); err != nil {
			return nil, err
		}
	}
	err = c.lightly(func() error { return rest.BeforeCreate(c.creating(), ctx, obj) }, obj)
	if err == nil && validate != nil {
		err = validate(ctx, obj) // which only looks: webhooks and policies get what is converted for them
	}
	return undone(ctx, finish, err)
}

// lightly prepares and validates objects, at first without what is known to be valid. If something is wrong, that is found, and worded,
// with all there is.
func (c *Call) lightly(before func() error, objects ...runtime.Object) error {
	if c.Resource.Custom == nil {
		return before()
	}
	var taken []func()
	for _, obj := range objects {
		if restore := c.Resource.Custom.Lighten(obj); restore != nil {
			taken = append(taken, restore)
		}
	}
	err := before()
	for _, restore := range taken {
		restore()
	}
	if err == nil || len(taken) == 0 {
		return err
	}
	return before()
}

// alreadyExists words the error of a create whose name is taken.
func (a *API) alreadyExists(ctx context.Context, c *Call, obj runtime.Object, conflict *store.Conflict) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	var exists error = apierrors.NewAlreadyExists(c.Resource.GroupResource(), accessor.GetName())
	exists = rest.CheckGeneratedNameError(ctx, c.Resource.Create, exists, obj)
	if conflict.Current == nil {
		return exists
	}
	existing, err := c.Resource.Decode(conflict.Current.Value, conflict.Current.Revision)
	if err != nil {
		return exists
	}
	if other, err := meta.Accessor(existing); err == nil && other.GetDeletionTimestamp() != nil {
		var status *apierrors.StatusError
		if errors.As(exists, &status) {
			status.ErrStatus.Message = fmt.Sprintf("object is being deleted: %s", status.ErrStatus.Message)
		}
	}
	return exists
}

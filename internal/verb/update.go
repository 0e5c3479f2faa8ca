package verb

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// update replaces an object by the body.
func (a *API) update(ctx context.Context, c *Call) error {
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	body, err := c.readBody(ctx)
	if err != nil {
		return err
	}
	options, err := c.updateOptions()
	if err != nil {
		return err
	}
	media, err := c.bodyMedia() // after the options, unlike in a create: upstream's order
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
	if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(c.objectNamespace(), accessor); err != nil {
		return err
	}
	if err := c.checkName(obj); err != nil {
		return err
	}
	dedupOwners(ctx, obj, duplicateOwnersWarning)
	change := &change{next: c.bodyEachTime(obj, media, body), options: options}
	c.answer = &out
	change.version = accessor.GetResourceVersion()
	if uid := accessor.GetUID(); uid != "" {
		change.preconditions = &metav1.Preconditions{UID: &uid}
	}
	return a.change(ctx, c, out, change)
}

// bodyEachTime returns obj, what the body is, once, and then, since whoever had it has changed it, reads the body again.
func (c *Call) bodyEachTime(obj runtime.Object, media wire.Media, body []byte) func(runtime.Object) (runtime.Object, error) {
	return func(runtime.Object) (runtime.Object, error) {
		if next := obj; next != nil {
			obj = nil
			return next, nil
		}
		silent := context.Background() // what there is to be warned of, the client knows
		again, err := c.decodeBody(silent, media, body, metav1.FieldValidationIgnore)
		if err == nil {
			dedupOwners(silent, again, duplicateOwnersWarning)
		}
		return again, err
	}
}

// change is a write to an object that may exist: what an update and a patch have in common.
type change struct {
	// next makes the new object from the existing one, which it must not change. For an object that does not exist it gets
	// an empty one.
	next          func(existing runtime.Object) (runtime.Object, error)
	preconditions *metav1.Preconditions
	options       *metav1.UpdateOptions
	// version is the resourceVersion that the client has seen, as it says; "" when it does not say, or a patch says it.
	version string
	// applies says that next applies a configuration: it keeps the managed fields itself, and the write may create the object
	// whatever the kind's strategy says.
	applies bool
	// withoutFields drops the managed fields.
	withoutFields bool
}

func (ch *change) dryRun() bool { return isDryRun(ch.options.DryRun) }

// change carries a change out and answers.
func (a *API) change(ctx context.Context, c *Call, out wire.Output, ch *change) error {
	obj, created, err := a.changeObject(ctx, c, ch)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	return a.respond(ctx, c, out, code, obj)
}

// changeObject carries a change out and returns what the client gets to see, and whether that is new.
func (a *API) changeObject(ctx context.Context, c *Call, ch *change) (_ runtime.Object, created bool, _ error) {
	obj, created, err := a.tryChange(ctx, c, ch)
	if errors.Is(err, store.ErrTooLarge) && a.Fields != nil && !ch.applies {
		// It may be the managed fields that are too much; the object can do without (endpoints/handlers/update.go).
		ch.withoutFields = true
		obj, created, err = a.tryChange(ctx, c, ch)
	}
	return obj, created, storeError(err, c)
}

// tryChange is changeObject with the errors of the store as the store has them.
func (a *API) tryChange(ctx context.Context, c *Call, ch *change) (_ runtime.Object, created bool, _ error) {
	var last decision
	result, err := a.commit(ctx, c.Resource.Kind, c.key(a.Root), ch.dryRun(), func(existing runtime.Object, revision int64) (decision, error) {
		created = revision == 0
		var err error
		if created {
			last, err = a.createByChange(ctx, c, ch, existing)
		} else {
			last, err = a.updateByChange(ctx, c, ch, existing)
		}
		return last, err
	})
	if err != nil {
		return nil, false, err
	}
	if result.action == remove {
		c.afterDelete(result.obj, &metav1.DeleteOptions{DryRun: ch.options.DryRun})
		result.obj = last.obj // a client that takes away the last finalizer expects the object it has sent
	}
	obj, err := c.view(result.obj)
	return obj, created, err
}

// strategy is the one of the subresource, where there is one.
func (c *Call) updateStrategy() rest.RESTUpdateStrategy {
	if c.Sub != nil && c.Sub.Update != nil {
		return c.Sub.Update
	}
	return c.Resource.Update
}

// createByChange makes a new object, where a write to one that does not exist may do that; that takes the right to create it.
func (a *API) createByChange(ctx context.Context, c *Call, ch *change, empty runtime.Object) (decision, error) {
	if c.Sub != nil || !(ch.applies || c.Resource.Update.AllowCreateOnUpdate(ctx)) {
		return decision{}, c.notFound()
	}
	obj, err := a.next(c, ch, empty)
	if err != nil {
		return decision{}, err
	}
	if err := checkPreconditions(ch.preconditions, c, c.key(a.Root), empty); err != nil {
		return decision{}, err
	}
	options := &metav1.CreateOptions{
		TypeMeta: optionsType("CreateOptions"), DryRun: ch.options.DryRun,
		FieldManager: ch.options.FieldManager, FieldValidation: ch.options.FieldValidation,
	}
	attributes := c.attributes(ctx, obj, nil, c.Info.Name, admission.Create, options, ch.dryRun())
	if err := a.mutate(ctx, c, attributes); err != nil {
		return decision{}, err
	}
	dedupOwners(ctx, obj, duplicateOwnersAfterWarning)
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return decision{}, err
	}
	rest.WipeObjectMetaSystemFields(accessor)
	validate := rest.AdmissionToValidateObjectFunc(a.Admission, attributes, c.objectInterfaces())
	finish, err := c.prepareCreate(ctx, obj, func(ctx context.Context, obj runtime.Object) error {
		if err := a.authorizeCreate(ctx, c); err != nil {
			return err
		}
		return validate(ctx, obj)
	}, options)
	return decision{action: put, obj: obj, finish: finish, call: c}, err
}

func (a *API) authorizeCreate(ctx context.Context, c *Call) error {
	user, _ := genericrequest.UserFrom(ctx)
	attributes := authorizer.AttributesRecord{
		User: user, Verb: "create", ResourceRequest: true, Path: c.Info.Path,
		APIGroup: c.Resource.Version.Group, APIVersion: c.Resource.Version.Version, Resource: c.Resource.Kind.Resource,
		Subresource: c.subresource(), Namespace: c.Info.Namespace, Name: c.Info.Name,
	}
	allowed, reason, err := a.Authorizer.Authorize(ctx, attributes)
	switch {
	case allowed == authorizer.DecisionAllow:
		return nil
	case err != nil:
		return apierrors.NewInternalError(err)
	}
	return request.Forbidden(attributes, reason)
}

// updateByChange makes the new state of an object that exists.
func (a *API) updateByChange(ctx context.Context, c *Call, ch *change, existing runtime.Object) (decision, error) {
	if err := checkPreconditions(ch.preconditions, c, c.key(a.Root), existing); err != nil {
		return decision{}, err
	}
	if err := c.checkSeen(ch.version, existing); err != nil {
		return decision{}, err
	}
	shown, err := c.viewWithFields(existing)
	if err != nil {
		return decision{}, err
	}
	next, err := a.next(c, ch, shown)
	if err != nil {
		return decision{}, err
	}
	attributes := c.attributes(ctx, next, shown, c.Info.Name, admission.Update, ch.options, ch.dryRun())
	if err := a.mutate(ctx, c, attributes); err != nil {
		return decision{}, err
	}
	dedupOwners(ctx, next, duplicateOwnersAfterWarning)
	obj, err := c.unview(next, existing)
	if err != nil {
		return decision{}, err
	}
	strategy := c.updateStrategy()
	if err := c.checkVersion(ctx, strategy, obj, existing); err != nil {
		return decision{}, err
	}
	finish, err := a.prepareUpdate(ctx, c, strategy, obj, existing, ch.options,
		rest.AdmissionToValidateObjectUpdateFunc(a.Admission, attributes, c.objectInterfaces()))
	if err != nil {
		return decision{}, err
	}
	if c.finished(obj, existing) {
		if finish != nil {
			finish(context.WithoutCancel(ctx), false) // the object goes, it is not written
		}
		return decision{action: remove, obj: obj}, nil
	}
	return decision{action: put, obj: obj, finish: finish, call: c}, nil
}

// prepareUpdate runs the kind's hook, the strategy and validating admission. The outcome is to be told to finish.
func (a *API) prepareUpdate(ctx context.Context, c *Call, strategy rest.RESTUpdateStrategy, obj, existing runtime.Object,
	options *metav1.UpdateOptions, validate rest.ValidateObjectUpdateFunc) (finish kind.Finish, err error) {
	if begin := c.Resource.BeginUpdate; begin != nil && c.Sub == nil {
		if finish, err = begin(ctx, obj, existing, options); err != nil {
			return nil, err
		}
	}
	err = c.lightly(func() error { return rest.BeforeUpdate(c.updating(strategy), ctx, obj, existing) }, obj, existing)
	if err == nil {
		if a.Fields != nil {
			a.Fields.KeepTimes(obj, existing)
		}
		err = c.validateUpdate(ctx, obj, existing, validate)
	}
	return undone(ctx, finish, err)
}

func (c *Call) validateUpdate(ctx context.Context, obj, existing runtime.Object, validate rest.ValidateObjectUpdateFunc) error {
	obj, err := c.view(obj)
	if err != nil {
		return err
	}
	if existing, err = c.view(existing); err != nil {
		return err
	}
	return validate(ctx, obj, existing)
}

// view is the object as the subresource shows it.
func (c *Call) view(obj runtime.Object) (runtime.Object, error) {
	if c.Sub == nil || c.Sub.View == nil {
		return obj, nil
	}
	return c.Sub.View.Of(obj)
}

// viewForWrite is view for an object that is to be changed.
func (c *Call) viewForWrite(obj runtime.Object) (runtime.Object, error) {
	if c.Sub != nil && c.Sub.View != nil && c.Sub.View.ForWrite != nil {
		return c.Sub.View.ForWrite(obj)
	}
	return c.view(obj)
}

// unview is the object that next, as the subresource shows it, makes of the existing one.
func (c *Call) unview(next, existing runtime.Object) (runtime.Object, error) {
	if c.Sub == nil || c.Sub.View == nil {
		return next, nil
	}
	obj := existing.DeepCopyObject()
	if err := c.Sub.View.Into(obj, next); err != nil {
		return nil, err
	}
	return obj, c.fieldsFromView(obj, next)
}

const modified = "the object has been modified; please apply your changes to the latest version and try again"

// checkSeen refuses early, before the work of tracking fields and of admission, what checkVersion would refuse after it: most
// updates of an object with many writers end here.
func (c *Call) checkSeen(version string, existing runtime.Object) error {
	old, err := meta.Accessor(existing)
	if err != nil {
		return err
	}
	seen, _, err := parseRevision(version)
	if err != nil || seen == 0 || version == old.GetResourceVersion() {
		return nil
	}
	return apierrors.NewConflict(c.Resource.GroupResource(), c.Info.Name, errors.New(modified))
}

// checkVersion is optimistic concurrency: a writer that names a resourceVersion must have seen the newest one. One that names
// none writes whatever is there, where the kind allows it.
func (c *Call) checkVersion(ctx context.Context, strategy rest.RESTUpdateStrategy, obj, existing runtime.Object) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	old, err := meta.Accessor(existing)
	if err != nil {
		return err
	}
	version, _, err := parseRevision(accessor.GetResourceVersion())
	if err != nil {
		return err
	}
	switch {
	case version == 0 && strategy.AllowUnconditionalUpdate(ctx):
		accessor.SetResourceVersion(old.GetResourceVersion())
		return nil
	case version == 0:
		gk := schema.GroupKind{Group: c.Resource.Group, Kind: c.Resource.Kind.Resource}
		return apierrors.NewInvalid(gk, c.Info.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update"),
		})
	case accessor.GetResourceVersion() != old.GetResourceVersion():
		return apierrors.NewConflict(c.Resource.GroupResource(), c.Info.Name, errors.New(modified))
	}
	return nil
}

// finished reports whether the update took away the last that kept a terminating object: then it goes.
func (c *Call) finished(obj, existing runtime.Object) bool {
	accessor, err := meta.Accessor(obj)
	if err != nil || len(accessor.GetFinalizers()) > 0 {
		return false
	}
	old, err := meta.Accessor(existing)
	if err != nil || old.GetDeletionTimestamp() == nil {
		return false
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && *grace != 0 {
		return false
	}
	keep := c.Resource.KeepWhileUpdating
	return keep == nil || !keep(obj, existing)
}

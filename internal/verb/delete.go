package verb

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"
)

// delete removes an object, or marks it: one with finalizers, or with a grace period, or a namespace, first gets a
// deletionTimestamp and stays until somebody has done what is left to do.
func (a *API) delete(ctx context.Context, c *Call) error {
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	options, err := c.deleteOptions(ctx)
	if err != nil {
		return err
	}
	if wantsUnsafe(options) {
		status, err := a.unsafeDelete(ctx, c, options)
		if err != nil {
			return err
		}
		return a.respond(ctx, c, out, http.StatusOK, status)
	}
	if err := c.beforeDelete(ctx, options); err != nil {
		return err
	}
	obj, deleted, err := a.deleteObject(ctx, c, c.Info.Name, options)
	if err != nil {
		return storeError(a.corrupt(err, c.key(a.Root)), c)
	}
	code := http.StatusOK
	//lint:ignore SA1019 clients still send orphanDependents
	if orphan := options.OrphanDependents; !deleted && orphan != nil && !*orphan {
		code = http.StatusAccepted
	}
	return a.respond(ctx, c, out, code, obj)
}

// deleteOptions reads them from the body, or from the query when there is none.
func (c *Call) deleteOptions(ctx context.Context) (*metav1.DeleteOptions, error) {
	body, err := c.readBody(ctx)
	if err != nil {
		return nil, err
	}
	options := &metav1.DeleteOptions{}
	if len(body) == 0 {
		err = c.parameters(options)
	} else {
		err = c.decodeDeleteOptions(body, options)
	}
	if err != nil {
		return nil, err
	}
	options.TypeMeta = optionsType("DeleteOptions")
	return options, invalidOptions(options.Kind, metav1validation.ValidateDeleteOptions(options))
}

func (c *Call) decodeDeleteOptions(body []byte, options *metav1.DeleteOptions) error {
	media, err := c.bodyMedia()
	if err != nil {
		return err
	}
	codecs := metainternalversionscheme.Codecs
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media.String())
	if !ok {
		return internalError("no serializer defined for %v", media)
	}
	gvk := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	// Clients also send DeleteOptions in their own group's version.
	obj, got, err := codecs.DecoderToVersion(info.Serializer, gvk.GroupVersion()).Decode(body, &gvk, options)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if obj != options {
		return apierrors.NewBadRequest("decoded object cannot be converted to DeleteOptions")
	}
	c.auditDeleteOptions(options, got.GroupVersion())
	return nil
}

// deletion is the delete of one object.
type deletion struct {
	call    *Call
	name    string
	options *metav1.DeleteOptions
	// admit asks admission; nil when there is none, or it has nothing to do with it.
	admit rest.ValidateObjectFunc
	// removing is set for the second round, when the object has been marked with no time left.
	removing bool
	// noTimeLeft says that the last decision marks the object with no time left. A decision that was made on something outdated
	// is made again, so this must not have any effect before the decision has been carried out.
	noTimeLeft bool
}

// deleteObject deletes the object of that name and returns what the client gets: the object, or a Status. deleted says whether
// it is gone.
func (a *API) deleteObject(ctx context.Context, c *Call, name string, options *metav1.DeleteOptions) (obj runtime.Object, deleted bool, err error) {
	key := c.Resource.Key(a.Root, c.Info.Namespace, name)
	dryRun := isDryRun(options.DryRun)
	d := &deletion{call: c, name: name, options: options}
	if attributes := c.attributes(ctx, nil, nil, name, admission.Delete, options, dryRun); a.concerned(attributes) {
		d.admit = rest.AdmissionToValidateObjectDeleteFunc(a.Admission, attributes, c.objectInterfaces())
	}
	for cur := a.current(key); ; {
		result, err := a.commitFrom(ctx, c.Resource.Kind, key, dryRun, cur, func(existing runtime.Object, revision int64) (decision, error) {
			if revision == 0 {
				return decision{}, apierrors.NewNotFound(c.Resource.GroupResource(), name)
			}
			return d.decide(ctx, existing)
		})
		switch {
		case d.removing && apierrors.IsNotFound(err):
			return c.deletedAnswer(obj), true, nil // somebody else was faster
		case err != nil:
			return nil, false, err
		case result.action == remove:
			c.afterDelete(result.obj, options)
			return c.deletedAnswer(result.obj), true, nil
		case !d.noTimeLeft:
			return result.obj, false, nil
		case dryRun:
			return result.obj, true, nil
		}
		obj, cur = result.obj, result.stored // marked with no time left; now remove it
		d.removing = true
		d.afterMark(obj)
	}
}

// afterMark lets the second round expect the object that the first one has written.
func (d *deletion) afterMark(obj runtime.Object) {
	if d.options.Preconditions == nil || d.options.Preconditions.ResourceVersion == nil {
		return
	}
	if accessor, err := meta.Accessor(obj); err == nil {
		d.options.Preconditions.ResourceVersion = ptr.To(accessor.GetResourceVersion())
	}
}

// decide says what is to become of an existing object (registry/generic/registry/store.go, Delete, and
// rest.BeforeDelete). existing may be changed.
func (d *deletion) decide(ctx context.Context, existing runtime.Object) (decision, error) {
	d.noTimeLeft = false
	accessor, err := meta.Accessor(existing)
	if err != nil {
		return decision{}, err
	}
	switch {
	case d.removing:
		if err := checkPreconditions(d.options.Preconditions, d.call, "", existing); err != nil {
			return decision{}, err
		}
		return decision{action: remove, removed: existing}, d.validate(ctx, existing)
	case d.call.Resource.Terminate != nil:
		if d, done, err := d.terminate(ctx, existing, accessor); done || err != nil {
			return d, err
		}
	}
	// Strategies write into the options what they make of them for this object, which may turn out to be outdated.
	options := d.options.DeepCopy()
	unchanged := existing
	if d.admit != nil {
		unchanged = existing.DeepCopyObject()
	}
	graceful, pending, err := rest.BeforeDelete(d.call.Resource.Delete, ctx, existing, options)
	if err != nil {
		return decision{}, err
	}
	if pending {
		return decision{obj: existing}, nil
	}
	if err := d.validate(ctx, unchanged); err != nil {
		return decision{}, err
	}
	return d.mark(ctx, existing, accessor, options, graceful)
}

func (d *deletion) validate(ctx context.Context, existing runtime.Object) error {
	if d.admit == nil {
		return nil
	}
	return d.admit(ctx, existing)
}

// terminate marks an object of a kind that leaves in two steps, or leaves it as it is; done says that this is all for now
// (kubernetes/pkg/registry/core/namespace/storage/storage.go, Delete).
func (d *deletion) terminate(ctx context.Context, existing runtime.Object, accessor metav1.Object) (_ decision, done bool, _ error) {
	c := d.call
	if err := c.checkTermination(d.options.Preconditions, accessor); err != nil {
		return decision{}, false, err
	}
	if accessor.GetDeletionTimestamp() == nil {
		if err := d.validate(ctx, existing); err != nil {
			return decision{}, false, err
		}
		c.Resource.Terminate(existing, d.options)
		return decision{action: put, obj: existing}, true, nil
	}
	return decision{obj: existing}, !c.Resource.Terminated(existing), nil
}

// checkTermination checks preconditions in the words that upstream has for namespaces alone.
func (c *Call) checkTermination(preconditions *metav1.Preconditions, accessor metav1.Object) error {
	if preconditions == nil {
		return nil
	}
	conflict := func(field string, want, have any) error {
		//lint:ignore ST1005 the text is upstream's
		err := fmt.Errorf("Precondition failed: %[1]s in precondition: %[2]v, %[1]s in object meta: %[3]v", field, want, have)
		return apierrors.NewConflict(c.Resource.GroupResource(), accessor.GetName(), err)
	}
	if uid := preconditions.UID; uid != nil && *uid != accessor.GetUID() {
		return conflict("UID", *uid, accessor.GetUID())
	}
	if version := preconditions.ResourceVersion; version != nil && *version != accessor.GetResourceVersion() {
		return conflict("ResourceVersion", *version, accessor.GetResourceVersion())
	}
	return nil
}

// mark sets the finalizers that the options ask for, and decides whether the object has to stay for a while.
func (d *deletion) mark(ctx context.Context, existing runtime.Object, accessor metav1.Object, options *metav1.DeleteOptions, graceful bool) (decision, error) {
	finalizers := d.finalizers(ctx, accessor)
	untouched := sameSet(finalizers, accessor.GetFinalizers())
	if !untouched {
		accessor.SetFinalizers(finalizers)
	}
	switch {
	case graceful:
		d.noTimeLeft = len(finalizers) == 0 && *options.GracePeriodSeconds == 0
		return decision{action: put, obj: existing}, nil
	case len(finalizers) > 0:
		markDeleting(accessor)
		return decision{action: put, obj: existing}, nil
	}
	grace := accessor.GetDeletionGracePeriodSeconds() // one below zero has been changed (rest.BeforeDelete)
	if untouched && (grace == nil || *grace == 0) {
		return decision{action: remove, removed: existing}, nil
	}
	return decision{action: remove}, nil
}

func markDeleting(accessor metav1.Object) {
	if accessor.GetDeletionTimestamp() == nil && accessor.GetGeneration() > 0 {
		accessor.SetGeneration(accessor.GetGeneration() + 1)
	}
	now := metav1.NewTime(time.Now())
	if old := accessor.GetDeletionTimestamp(); old == nil || old.After(now.Time) {
		accessor.SetDeletionTimestamp(&now)
	}
	accessor.SetDeletionGracePeriodSeconds(ptr.To[int64](0))
}

// finalizers returns the object's finalizers with those of the garbage collector as the propagation policy wants them: of
// the options, or else as they are, or else by the kind's default.
func (d *deletion) finalizers(ctx context.Context, accessor metav1.Object) []string {
	policy := d.propagation(ctx, accessor)
	var result []string
	for _, f := range accessor.GetFinalizers() {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			result = append(result, f)
		}
	}
	switch policy {
	case metav1.DeletePropagationOrphan:
		result = append(result, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		result = append(result, metav1.FinalizerDeleteDependents)
	}
	return result
}

func (d *deletion) propagation(ctx context.Context, accessor metav1.Object) metav1.DeletionPropagation {
	byDefault := rest.DeleteDependents
	if strategy, ok := d.call.Resource.Delete.(rest.GarbageCollectionDeleteStrategy); ok {
		byDefault = strategy.DefaultGarbageCollectionPolicy(ctx)
	}
	if byDefault == rest.Unsupported {
		return metav1.DeletePropagationBackground
	}
	//lint:ignore SA1019 clients still send orphanDependents
	if orphan := d.options.OrphanDependents; orphan != nil {
		if *orphan {
			return metav1.DeletePropagationOrphan
		}
		return metav1.DeletePropagationBackground
	}
	if d.options.PropagationPolicy != nil {
		return *d.options.PropagationPolicy
	}
	for _, f := range accessor.GetFinalizers() {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return metav1.DeletePropagationOrphan
		case metav1.FinalizerDeleteDependents:
			return metav1.DeletePropagationForeground
		}
	}
	if byDefault == rest.OrphanDependents {
		return metav1.DeletePropagationOrphan
	}
	return metav1.DeletePropagationBackground
}

func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func (c *Call) beforeDelete(ctx context.Context, options *metav1.DeleteOptions) error {
	if c.Resource.BeforeDelete == nil {
		return nil
	}
	return c.Resource.BeforeDelete(ctx, c.Info.Name, options)
}

func (c *Call) afterDelete(obj runtime.Object, options *metav1.DeleteOptions) {
	if c.Resource.AfterDelete != nil {
		c.Resource.AfterDelete(obj, options)
	}
}

// deletedAnswer is what a client gets for an object that is gone: the object, for some kinds, or a Status that names it. Its
// kind is the resource's name, for no reason but that it always was.
func (c *Call) deletedAnswer(obj runtime.Object) runtime.Object {
	if c.Resource.ReturnDeleted {
		return obj
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return obj
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: accessor.GetName(), Group: c.Resource.Group, Kind: c.Resource.Kind.Resource, UID: accessor.GetUID(),
	}}
}

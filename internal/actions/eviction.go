package actions

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"
	"k8s.io/utils/ptr"
)

// eviction is pods/eviction: a delete that asks the pod's disruption budget first
// (kubernetes/pkg/registry/core/pod/storage/eviction.go).
type eviction struct{ objects }

var (
	_ rest.NamedCreater         = (*eviction)(nil)
	_ rest.GroupVersionAcceptor = (*eviction)(nil)
)

// New returns an empty body.
func (*eviction) New() runtime.Object { return &policy.Eviction{} }

// Destroy has nothing to do.
func (*eviction) Destroy() {}

// AcceptsGroupVersion accepts bodies of the version from before policy/v1, too.
func (*eviction) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyv1beta1.SchemeGroupVersion
}

// Create evicts the pod of that name.
func (e *eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	options *metav1.CreateOptions) (runtime.Object, error) {
	body, ok := obj.(*policy.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	deleteOptions, err := checkEviction(name, body, options)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, body.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	namespace, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return e.evict(ctx, namespace, name, deleteOptions)
}

// checkEviction checks a body and returns the options for the delete.
func checkEviction(name string, body *policy.Eviction, options *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	if name != body.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	deletion := body.DeleteOptions
	if deletion != nil && ptr.Deref(deletion.IgnoreStoreReadErrorWithClusterBreakingPotential, false) {
		path := field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential")
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), name, field.ErrorList{
			field.Invalid(path, true, "can not be set for pod eviction, try after removing the option"),
		})
	}
	switch {
	case deletion == nil:
		return &metav1.DeleteOptions{DryRun: options.DryRun}, nil
	case len(deletion.DryRun) == 0:
		deletion.DryRun = options.DryRun
	case len(options.DryRun) > 0 && !slices.Equal(options.DryRun, deletion.DryRun):
		//lint:ignore ST1005 the text is upstream's
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, deletion.DryRun)
	}
	return deletion, nil
}

// evictAttempts is how often a pod that keeps changing is looked at again (upstream's EvictionsRetry).
const evictAttempts = 20

// evict deletes a pod that no budget protects, or asks the budget. A pod that has changed between the look at it and the delete
// is looked at again, unless the client named the one it means.
func (e *eviction) evict(ctx context.Context, namespace, name string, options *metav1.DeleteOptions) (runtime.Object, error) {
	for attempt := 1; ; attempt++ {
		obj, err := e.get(ctx, "pods", namespace, name)
		if err != nil {
			return nil, err
		}
		pod := obj.(*api.Pod)
		if !unprotected(pod) {
			return e.evictProtected(ctx, pod, options)
		}
		deletion := options
		pinned := !stopped(pod) && !namesVersion(options)
		if pinned {
			deletion = atVersion(options, pod) // it may become ready, and protected, meanwhile
		}
		err = e.deletePod(ctx, pod, deletion)
		switch {
		case err == nil:
			return evicted(), nil
		case !pinned || !apierrors.IsConflict(err) || isAnother(options, pod) || attempt == evictAttempts:
			return nil, err
		}
	}
}

func evicted() *metav1.Status { return &metav1.Status{Status: metav1.StatusSuccess} }

// stopped reports whether the pod does nothing any more, or soon will not.
func stopped(pod *api.Pod) bool {
	phase := pod.Status.Phase
	return phase == api.PodSucceeded || phase == api.PodFailed || pod.DeletionTimestamp != nil
}

// unprotected pods are those whose end disrupts nothing.
func unprotected(pod *api.Pod) bool { return stopped(pod) || pod.Status.Phase == api.PodPending }

// isAnother reports whether the client means a pod that had the name before.
func isAnother(options *metav1.DeleteOptions, pod *api.Pod) bool {
	return options.Preconditions != nil && options.Preconditions.UID != nil && *options.Preconditions.UID != pod.UID
}

func namesVersion(options *metav1.DeleteOptions) bool {
	return options.Preconditions != nil && options.Preconditions.ResourceVersion != nil
}

// atVersion returns options for a delete of the pod only as it was seen.
func atVersion(options *metav1.DeleteOptions, pod *api.Pod) *metav1.DeleteOptions {
	options = options.DeepCopy()
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	options.Preconditions.ResourceVersion = ptr.To(pod.ResourceVersion)
	return options
}

// evictProtected deletes a pod as far as its budget allows.
func (e *eviction) evictProtected(ctx context.Context, pod *api.Pod, options *metav1.DeleteOptions) (runtime.Object, error) {
	budgets, err := e.budgets(ctx, pod)
	switch {
	case err != nil:
		return nil, err
	case len(budgets) > 1:
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status:  metav1.StatusFailure,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
			Code:    http.StatusInternalServerError,
		}}
	case len(budgets) == 1 && spared(pod, budgets[0]):
		return e.evictUnready(ctx, pod, budgets[0].Name, options)
	case len(budgets) == 1:
		if err := e.spend(ctx, budgets[0], pod.Name, dryrun.IsDryRun(options.DryRun)); err != nil {
			return nil, err
		}
	}
	if err := e.deletePod(ctx, pod, options); err != nil {
		return nil, err
	}
	return evicted(), nil
}

// evictUnready deletes a pod that does not count, unless it has changed and may count by now.
func (e *eviction) evictUnready(ctx context.Context, pod *api.Pod, budget string,
	options *metav1.DeleteOptions) (runtime.Object, error) {
	err := e.deletePod(ctx, pod, atVersion(options, pod))
	switch {
	case err == nil:
		return evicted(), nil
	case apierrors.IsConflict(err) && !namesVersion(options):
		return nil, notNow(budget) // so that clients try again
	}
	return nil, err
}

// deletePod marks the pod as disrupted, for those who want to know why it has gone, and deletes it.
func (e *eviction) deletePod(ctx context.Context, pod *api.Pod, options *metav1.DeleteOptions) error {
	pods, err := e.find("", "pods")
	if err != nil {
		return err
	}
	if !dryrun.IsDryRun(options.DryRun) {
		marked, err := e.unadmitted().UpdateObject(ctx, pods, "status", pod.Namespace, pod.Name, &metav1.UpdateOptions{},
			func(latest runtime.Object) (runtime.Object, error) {
				return disrupted(latest.(*api.Pod), options.Preconditions)
			})
		if err != nil {
			return err
		}
		if namesVersion(options) {
			options = atVersion(options, marked.(*api.Pod)) // we are the ones who have changed it
		}
	}
	_, _, err = e.unadmitted().DeleteObject(ctx, pods, pod.Namespace, pod.Name, options)
	return err
}

// disrupted adds the condition to a pod, if it is the one that is meant.
func disrupted(pod *api.Pod, preconditions *metav1.Preconditions) (*api.Pod, error) {
	if preconditions != nil {
		if uid := ptr.Deref(preconditions.UID, ""); uid != "" && uid != pod.UID {
			return nil, preconditionFailed(pod, "UID", uid, pod.UID, "deleted and then recreated")
		}
		if version := ptr.Deref(preconditions.ResourceVersion, ""); version != "" && version != pod.ResourceVersion {
			return nil, preconditionFailed(pod, "ResourceVersion", version, pod.ResourceVersion, "modified")
		}
	}
	podutil.UpdatePodCondition(&pod.Status, &api.PodCondition{
		Type:    api.DisruptionTarget,
		Status:  api.ConditionTrue,
		Reason:  "EvictionByEvictionAPI",
		Message: "Eviction API: evicting",
	})
	return pod, nil
}

func preconditionFailed(pod *api.Pod, what string, want, have any, why string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.Name, fmt.Errorf(
		"the %[1]s in the precondition (%[2]s) does not match the %[1]s in record (%[3]s). The object might have been %[4]s",
		what, want, have, why))
}

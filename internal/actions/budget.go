package actions

import (
	"context"
	"errors"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	pdbhelper "k8s.io/component-helpers/apps/poddisruptionbudget"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"

	"github.com/kayak-k8s/kayak/internal/verb"
)

// Budgets: what an eviction asks. A controller works out how many disruptions a PodDisruptionBudget allows at the moment; each
// eviction takes one in the same conditional write that checks for it, so two can never take the same one.

// maxDisrupted bounds the evictions that the controller has not seen yet (upstream's MaxDisruptedPodSize).
const maxDisrupted = 2000

// budgets returns those that select the pod.
func (e *eviction) budgets(ctx context.Context, pod *api.Pod) ([]*policy.PodDisruptionBudget, error) {
	r, err := e.find(policy.GroupName, "poddisruptionbudgets")
	if err != nil {
		return nil, err
	}
	list, err := e.api.ListObjects(ctx, r, pod.Namespace)
	if err != nil {
		return nil, err
	}
	var matching []*policy.PodDisruptionBudget
	for _, obj := range list {
		budget := obj.(*policy.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) { // one that cannot be read selects nothing
			matching = append(matching, budget)
		}
	}
	return matching, nil
}

// spared reports whether the pod is not ready and the budget does not protect it therefore (KEP-3017).
func spared(pod *api.Pod, budget *policy.PodDisruptionBudget) bool {
	if podutil.IsPodReady(pod) {
		return false
	}
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policy.AlwaysAllow {
		return true
	}
	return budget.Status.CurrentHealthy >= budget.Status.DesiredHealthy && budget.Status.DesiredHealthy > 0
}

// spend takes one disruption from the budget, for the pod.
func (e *eviction) spend(ctx context.Context, budget *policy.PodDisruptionBudget, podName string, dryRun bool) error {
	if dryRun {
		return checkBudget(budget)
	}
	r, err := e.find(policy.GroupName, "poddisruptionbudgets")
	if err != nil {
		return err
	}
	// Upstream does this as its own client, through admission.
	_, err = e.api.UpdateObject(verb.AsServer(ctx), r, "status", budget.Namespace, budget.Name, &metav1.UpdateOptions{},
		func(obj runtime.Object) (runtime.Object, error) {
			latest := obj.(*policy.PodDisruptionBudget)
			if err := checkBudget(latest); err != nil {
				return nil, err
			}
			take(latest, podName)
			return latest, nil
		})
	return err
}

// take counts the disruption. The controller does not count the pod as available from now on; a pod that is still there after a
// while is forgotten about.
func take(budget *policy.PodDisruptionBudget, podName string) {
	status := &budget.Status
	status.DisruptionsAllowed--
	if status.DisruptionsAllowed == 0 {
		shown := &policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: status.ObservedGeneration, Conditions: status.Conditions,
		}}
		pdbhelper.UpdateDisruptionAllowedCondition(shown)
		status.Conditions = shown.Status.Conditions
	}
	if status.DisruptedPods == nil {
		status.DisruptedPods = map[string]metav1.Time{}
	}
	status.DisruptedPods[podName] = metav1.Now()
}

// checkBudget says why the budget does not allow a disruption, if it does not.
func checkBudget(budget *policy.PodDisruptionBudget) error {
	status := budget.Status
	prefix := fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
	switch {
	case status.ObservedGeneration < budget.Generation:
		return notNow(budget.Name)
	case status.DisruptionsAllowed < 0:
		return broken(budget, "pdb disruptions allowed is negative", prefix+": pdb disruptions allowed is negative")
	case len(status.DisruptedPods) > maxDisrupted:
		return broken(budget, "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			prefix+": too many pending evictions not confirmed by PDB controller")
	case status.DisruptionsAllowed == 0:
		return violated(0, exhausted(budget, prefix))
	}
	return nil
}

// exhausted words why nothing is left.
func exhausted(budget *policy.PodDisruptionBudget, prefix string) string {
	status := budget.Status
	condition := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	explained := condition != nil && condition.Status == metav1.ConditionFalse && condition.Message != ""
	switch {
	case explained && condition.Reason == policyv1.SyncFailedReason: // then the numbers cannot be trusted
		return prefix + " because it failed sync: " + condition.Message
	case status.CurrentHealthy <= status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			budget.Name, status.DesiredHealthy, status.CurrentHealthy)
	case explained:
		return fmt.Sprintf("%s (%s): %s", prefix, condition.Reason, condition.Message)
	}
	return prefix
}

// notNow is for a budget that the controller has yet to look at.
func notNow(budget string) error {
	return violated(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func violated(retryAfter int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	addCause(err, cause)
	return err
}

// broken is for a budget with a status that makes no sense.
func broken(budget *policy.PodDisruptionBudget, text, cause string) error {
	err := apierrors.NewForbidden(policy.Resource("poddisruptionbudget"), budget.Name, errors.New(text))
	addCause(err, cause)
	return err
}

func addCause(err *apierrors.StatusError, message string) {
	details := err.ErrStatus.Details
	details.Causes = append(details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
}

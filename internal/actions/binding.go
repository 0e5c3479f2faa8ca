package actions

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/features"
)

// binding is pods/binding: a scheduler assigns a pod to a node (kubernetes/pkg/registry/core/pod/storage/storage.go,
// BindingREST).
type binding struct{ objects }

var (
	_ rest.NamedCreater                   = (*binding)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*binding)(nil)
)

// New returns an empty body.
func (*binding) New() runtime.Object { return &api.Binding{} }

// Destroy has nothing to do.
func (*binding) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps uid and resourceVersion of the body: they are preconditions.
func (*binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create assigns the pod of that name.
func (b *binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	options *metav1.CreateOptions) (runtime.Object, error) {
	body, ok := obj.(*api.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != body.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validation.ValidatePodBinding(body); len(errs) > 0 {
		return nil, errs.ToAggregate() // a 500, as in upstream
	}
	if validate != nil {
		if err := validate(ctx, body.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := b.bind(ctx, body, dryrun.IsDryRun(options.DryRun)); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func (b *binding) bind(ctx context.Context, body *api.Binding, dryRun bool) error {
	namespace, err := namespaceOf(ctx)
	if err != nil {
		return err
	}
	if err := checkName(body.Name); err != nil {
		return err
	}
	pods, err := b.find("", "pods")
	if err != nil {
		return err
	}
	key := pods.Key(b.api.Root, namespace, body.Name)
	// Past the strategy: that one forbids what a binding is for, a change of the node.
	_, err = b.api.RewriteObject(ctx, pods, namespace, body.Name, dryRun, func(existing runtime.Object) (runtime.Object, error) {
		if err := bindingPreconditions(body).Check(key, existing); err != nil {
			return nil, apierrors.NewConflict(api.Resource("pods"), body.Name, err)
		}
		pod := existing.(*api.Pod)
		if err := checkBindable(pod); err != nil {
			return nil, apierrors.NewConflict(api.Resource("pods/binding"), body.Name, err)
		}
		assign(pod, body)
		return pod, nil
	})
	return err
}

// bindingPreconditions are what the body's own metadata says about the pod.
func bindingPreconditions(body *api.Binding) *storage.Preconditions {
	preconditions := &storage.Preconditions{}
	if body.UID != "" {
		preconditions.UID = &body.UID
	}
	if body.ResourceVersion != "" {
		preconditions.ResourceVersion = &body.ResourceVersion
	}
	return preconditions
}

func checkBindable(pod *api.Pod) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	return nil
}

// assign gives the pod the node, and the labels and annotations of the binding.
func assign(pod *api.Pod, body *api.Binding) {
	pod.Spec.NodeName = body.Target.Name
	if utilfeature.DefaultFeatureGate.Enabled(features.ClearingNominatedNodeNameAfterBinding) {
		pod.Status.NominatedNodeName = "" // it has done its work, and misleads from now on
	}
	pod.Annotations = merged(pod.Annotations, body.Annotations)
	podutil.DropInitContainerAnnotations(pod.Annotations) // as the strategy would
	if utilfeature.DefaultFeatureGate.Enabled(features.PodTopologyLabelsAdmission) {
		pod.Labels = merged(pod.Labels, body.Labels)
	}
	podutil.UpdatePodCondition(&pod.Status, &api.PodCondition{Type: api.PodScheduled, Status: api.ConditionTrue})
}

func merged(into, from map[string]string) map[string]string {
	if len(from) == 0 {
		return into
	}
	if into == nil {
		into = map[string]string{}
	}
	maps.Copy(into, from)
	return into
}

// legacyBinding is the kind bindings, from before there were subresources: the same, with the pod's name in the body alone.
type legacyBinding struct{ *binding }

var _ rest.Creater = (*legacyBinding)(nil)

// Create assigns the pod that the body names.
func (b *legacyBinding) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc,
	options *metav1.CreateOptions) (runtime.Object, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return b.binding.Create(ctx, accessor.GetName(), obj, validate, options)
}

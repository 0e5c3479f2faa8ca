package builtin

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// A namespace leaves in two steps (registry/core/namespace/storage/storage.go): the first delete marks it as terminating, and
// it can be removed once somebody has emptied spec.finalizers, through its finalize subresource.

func terminateNamespace(existing runtime.Object, options *metav1.DeleteOptions) {
	ns := existing.(*api.Namespace)
	if ns.DeletionTimestamp.IsZero() {
		now := metav1.Now()
		ns.DeletionTimestamp = &now
	}
	ns.Status.Phase = api.NamespaceTerminating
	orphan := wants(options, metav1.DeletePropagationOrphan, true)
	foreground := wants(options, metav1.DeletePropagationForeground, false)
	ns.Finalizers = withFinalizer(ns.Finalizers, metav1.FinalizerOrphanDependents, orphan)
	ns.Finalizers = withFinalizer(ns.Finalizers, metav1.FinalizerDeleteDependents, foreground)
}

// wants tells whether the options ask for a propagation policy; nil means that they do not say.
func wants(options *metav1.DeleteOptions, policy metav1.DeletionPropagation, orphan bool) *bool {
	//lint:ignore SA1019 clients still send orphanDependents
	if old := options.OrphanDependents; old != nil {
		result := *old == orphan
		return &result
	}
	if options.PropagationPolicy == nil {
		return nil
	}
	result := *options.PropagationPolicy == policy
	return &result
}

func withFinalizer(finalizers []string, name string, want *bool) []string {
	if want == nil {
		return finalizers
	}
	var result []string
	for _, f := range finalizers {
		if f != name {
			result = append(result, f)
		}
	}
	if *want {
		result = append(result, name)
	}
	return result
}

func namespaceFinalized(existing runtime.Object) bool {
	return len(existing.(*api.Namespace).Spec.Finalizers) == 0
}

func namespaceNotFinalized(obj, _ runtime.Object) bool { return !namespaceFinalized(obj) }

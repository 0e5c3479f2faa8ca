package builtin

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // registers the types
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func coreKinds() []*kind.Kind {
	v1 := schema.GroupVersion{Version: "v1"}
	return []*kind.Kind{{
		Resource: "namespaces", Name: "Namespace", ShortNames: []string{"ns"},
		Prefix: "namespaces", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Namespace{} },
		NewList: func() runtime.Object { return &api.NamespaceList{} },
		Create:  namespace.Strategy, Update: namespace.Strategy,
		Attributes:        namespace.GetAttrs,
		NameLabel:         "kubernetes.io/metadata.name",
		Fields:            []kind.Field{{Name: "status.phase", Zero: "Active"}, {Name: "name", Paths: []string{"metadata.name"}}},
		ReturnDeleted:     true,
		KeepWhileUpdating: namespaceNotFinalized,
		Terminate:         terminateNamespace,
		Terminated:        namespaceFinalized,
		Verbs:             []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		Subresources: subresources(status(namespace.StatusStrategy),
			&kind.Subresource{Name: "finalize", Update: namespace.FinalizeStrategy, Verbs: []string{"update"}}),
	}, {
		Resource: "configmaps", Name: "ConfigMap", ShortNames: []string{"cm"}, Namespaced: true,
		Prefix: "configmaps", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.ConfigMap{} },
		NewList: func() runtime.Object { return &api.ConfigMapList{} },
		Create:  configmap.Strategy, Update: configmap.Strategy,
		Attributes: configmap.GetAttrs,
	}, {
		Resource: "secrets", Name: "Secret", Namespaced: true,
		Prefix: "secrets", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Secret{} },
		NewList: func() runtime.Object { return &api.SecretList{} },
		Create:  secret.Strategy, Update: secret.Strategy,
		Attributes: secret.GetAttrs,
		Fields:     []kind.Field{{Name: "type", Zero: "Opaque"}},
	}, {
		Resource: "pods", Name: "Pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
		Prefix: "pods", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Pod{} },
		NewList: func() runtime.Object { return &api.PodList{} },
		Create:  pod.Strategy, Update: pod.Strategy,
		Attributes: pod.GetAttrs,
		Fields: []kind.Field{
			{Name: "spec.nodeName"}, {Name: "spec.restartPolicy", Zero: "Always"}, {Name: "spec.schedulerName", Zero: "default-scheduler"},
			{Name: "spec.serviceAccountName"}, {Name: "spec.hostNetwork", Zero: "false"},
			{Name: "status.phase"}, {Name: "status.nominatedNodeName"},
			{Name: "status.podIP", Paths: []string{"status.podIPs.ip", "status.podIP"}},
		},
		Index:         []string{"spec.nodeName"},
		ReturnDeleted: true,
		Subresources:  subresources(status(pod.StatusStrategy)),
	}, {
		Resource: "services", Name: "Service", ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
		Prefix: "services/specs", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Service{} },
		NewList: func() runtime.Object { return &api.ServiceList{} },
		Create:  service.Strategy, Update: service.Strategy,
		Attributes:    service.GetAttrs,
		Fields:        []kind.Field{{Name: "spec.clusterIP"}, {Name: "spec.type", Zero: "ClusterIP"}},
		ReturnDeleted: true,
		Subresources:  subresources(status(service.StatusStrategy)),
	}, {
		Resource: "serviceaccounts", Name: "ServiceAccount", ShortNames: []string{"sa"}, Namespaced: true,
		Prefix: "serviceaccounts", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.ServiceAccount{} },
		NewList: func() runtime.Object { return &api.ServiceAccountList{} },
		Create:  serviceaccount.Strategy, Update: serviceaccount.Strategy,
		ReturnDeleted: true,
	}, {
		Resource: "nodes", Name: "Node", ShortNames: []string{"no"},
		Prefix: "minions", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Node{} },
		NewList: func() runtime.Object { return &api.NodeList{} },
		Create:  node.Strategy, Update: node.Strategy,
		Attributes:   node.GetAttrs,
		Fields:       []kind.Field{{Name: "spec.unschedulable", Zero: "false"}},
		Subresources: subresources(status(node.StatusStrategy)),
	}, {
		Resource: "events", Name: "Event", ShortNames: []string{"ev"}, Namespaced: true,
		Prefix: "events", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &api.Event{} },
		NewList: func() runtime.Object { return &api.EventList{} },
		Create:  event.Strategy, Update: event.Strategy,
		Attributes: event.GetAttrs,
		Fields: []kind.Field{
			{Name: "involvedObject.kind"}, {Name: "involvedObject.namespace"}, {Name: "involvedObject.name"},
			{Name: "involvedObject.uid"}, {Name: "involvedObject.apiVersion"}, {Name: "involvedObject.resourceVersion"},
			{Name: "involvedObject.fieldPath"}, {Name: "reason"}, {Name: "type"},
			{Name: "reportingComponent"}, {Name: "source", Paths: []string{"source.component", "reportingComponent"}},
		},
		EventTTL: true,
	}}
}

// A namespace leaves in two steps (registry/core/namespace/storage/storage.go): the first delete marks it as terminating, and
// it can be removed once somebody has emptied spec.finalizers, through its finalize subresource.

func terminateNamespace(existing runtime.Object, options *metav1.DeleteOptions) {
	ns := existing.(*api.Namespace)
	if ns.DeletionTimestamp.IsZero() {
		now := metav1.Now()
		ns.DeletionTimestamp = &now
	}
	ns.Status.Phase = api.NamespaceTerminating
	ns.Finalizers = withFinalizer(ns.Finalizers, metav1.FinalizerOrphanDependents, wants(options, metav1.DeletePropagationOrphan, true))
	ns.Finalizers = withFinalizer(ns.Finalizers, metav1.FinalizerDeleteDependents, wants(options, metav1.DeletePropagationForeground, false))
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

package builtin

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) coreWorkloads() []*kind.Kind {
	return []*kind.Kind{{
		Resource: "pods", Name: "Pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
		New: object[api.Pod], NewList: object[api.PodList],
		Create: pod.Strategy, Update: pod.Strategy,
		Attributes: pod.GetAttrs,
		Fields: []kind.Field{
			{Name: "spec.nodeName"}, {Name: "spec.restartPolicy", Zero: "Always"}, {Name: "spec.schedulerName", Zero: "default-scheduler"},
			{Name: "spec.serviceAccountName"}, {Name: "spec.hostNetwork", Zero: "false"},
			{Name: "status.phase"}, {Name: "status.nominatedNodeName"},
			{Name: "status.podIP", Paths: []string{"status.podIPs.ip", "status.podIP"}},
		},
		Index:         []string{"spec.nodeName"},
		ReturnDeleted: true,
		Subresources:  b.podSubresources(),
	}, {
		Resource: "bindings", Name: "Binding", Namespaced: true,
		New:     object[api.Binding],
		Virtual: b.virtual(api.GroupName, "bindings", object[api.Binding]),
		Verbs:   []string{"create"},
	}, {
		Resource: "podtemplates", Name: "PodTemplate", Namespaced: true,
		New: object[api.PodTemplate], NewList: object[api.PodTemplateList],
		Create: podtemplate.Strategy, Update: podtemplate.Strategy,
		ReturnDeleted: true,
	}, {
		Resource: "replicationcontrollers", Name: "ReplicationController", ShortNames: []string{"rc"}, Categories: []string{"all"},
		Namespaced: true, Prefix: "controllers",
		New: object[api.ReplicationController], NewList: object[api.ReplicationControllerList],
		Create: replicationcontroller.Strategy, Update: replicationcontroller.Strategy,
		Attributes: replicationcontroller.GetAttrs,
		Fields:     []kind.Field{{Name: "status.replicas", Zero: "0"}},
		Subresources: subresources(status(replicationcontroller.StatusStrategy),
			b.scale(api.Resource("replicationcontrollers"), scalableController, "v1")),
	}}
}

func (b *builder) podSubresources() map[string]*kind.Subresource {
	m := subresources(
		status(pod.StatusStrategy),
		&kind.Subresource{Name: "ephemeralcontainers", Update: pod.EphemeralContainersStrategy},
		b.action("pods", "attach", b.coreFace("PodAttachOptions", object[api.PodAttachOptions]), "create", "get"),
		b.action("pods", "binding", b.coreFace("Binding", object[api.Binding]), "create"),
		b.action("pods", "eviction", b.face(policyv1.SchemeGroupVersion.WithKind("Eviction"), object[policy.Eviction]), "create"),
		b.action("pods", "exec", b.coreFace("PodExecOptions", object[api.PodExecOptions]), "create", "get"),
		b.action("pods", "log", nil, "get"),
		b.action("pods", "portforward", b.coreFace("PodPortForwardOptions", object[api.PodPortForwardOptions]), "create", "get"),
		b.action("pods", "proxy", b.coreFace("PodProxyOptions", object[api.PodProxyOptions]), proxyVerbs()...),
	)
	if utilfeature.DefaultFeatureGate.Enabled(features.InPlacePodVerticalScaling) {
		m["resize"] = &kind.Subresource{Name: "resize", Update: pod.ResizeStrategy}
	}
	return m
}

func scalableController(obj runtime.Object) (scalable, error) {
	rc := obj.(*api.ReplicationController)
	return scalable{&rc.ObjectMeta, rc.Spec.Replicas, rc.Status.Replicas, labels.SelectorFromSet(rc.Spec.Selector)}, nil
}

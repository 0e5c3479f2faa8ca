package builtin

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) apps() []*kind.Kind {
	return inGroup(apps.GroupName, &kind.Kind{
		Resource: "controllerrevisions", Name: "ControllerRevision", Namespaced: true,
		New: object[apps.ControllerRevision], NewList: object[apps.ControllerRevisionList],
		Create: controllerrevision.Strategy, Update: controllerrevision.Strategy,
	}, &kind.Kind{
		Resource: "daemonsets", Name: "DaemonSet", ShortNames: []string{"ds"}, Categories: []string{"all"}, Namespaced: true,
		New: object[apps.DaemonSet], NewList: object[apps.DaemonSetList],
		Create: daemonset.Strategy, Update: daemonset.Strategy,
		Subresources: subresources(status(daemonset.StatusStrategy)),
	}, &kind.Kind{
		Resource: "deployments", Name: "Deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
		New: object[apps.Deployment], NewList: object[apps.DeploymentList],
		Create: deployment.Strategy, Update: deployment.Strategy,
		Subresources: subresources(status(deployment.StatusStrategy), b.scale(apps.Resource("deployments"), scalableDeployment, "v1beta1", "v1beta2", "v1")),
	}, &kind.Kind{
		Resource: "replicasets", Name: "ReplicaSet", ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
		New: object[apps.ReplicaSet], NewList: object[apps.ReplicaSetList],
		Create: replicaset.Strategy, Update: replicaset.Strategy,
		Attributes:   replicaset.GetAttrs,
		Fields:       []kind.Field{{Name: "status.replicas", Zero: "0"}},
		Subresources: subresources(status(replicaset.StatusStrategy), b.scale(apps.Resource("replicasets"), scalableReplicaSet, "v1beta2", "v1")),
	}, &kind.Kind{
		Resource: "statefulsets", Name: "StatefulSet", ShortNames: []string{"sts"}, Categories: []string{"all"}, Namespaced: true,
		New: object[apps.StatefulSet], NewList: object[apps.StatefulSetList],
		Create: statefulset.Strategy, Update: statefulset.Strategy,
		Subresources: subresources(status(statefulset.StatusStrategy), b.scale(apps.Resource("statefulsets"), scalableStatefulSet, "v1beta1", "v1beta2", "v1")),
	})
}

func scalableDeployment(obj runtime.Object) (scalable, error) {
	d := obj.(*apps.Deployment)
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	return scalable{&d.ObjectMeta, &d.Spec.Replicas, d.Status.Replicas, selector}, err
}

func scalableReplicaSet(obj runtime.Object) (scalable, error) {
	rs := obj.(*apps.ReplicaSet)
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	return scalable{&rs.ObjectMeta, &rs.Spec.Replicas, rs.Status.Replicas, selector}, err
}

func scalableStatefulSet(obj runtime.Object) (scalable, error) {
	sts := obj.(*apps.StatefulSet)
	selector, err := metav1.LabelSelectorAsSelector(sts.Spec.Selector)
	return scalable{&sts.ObjectMeta, &sts.Spec.Replicas, sts.Status.Replicas, selector}, err
}

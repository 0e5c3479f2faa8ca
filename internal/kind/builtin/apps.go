package builtin

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // registers the types
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func appsKinds() []*kind.Kind {
	v1 := schema.GroupVersion{Group: "apps", Version: "v1"}
	return []*kind.Kind{{
		Group: "apps", Resource: "deployments", Name: "Deployment",
		ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
		Prefix: "deployments", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &apps.Deployment{} },
		NewList: func() runtime.Object { return &apps.DeploymentList{} },
		Create:  deployment.Strategy, Update: deployment.Strategy,
		Subresources: subresources(status(deployment.StatusStrategy)),
	}, {
		Group: "apps", Resource: "replicasets", Name: "ReplicaSet",
		ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
		Prefix: "replicasets", Storage: v1, Versions: []string{"v1"},
		New:     func() runtime.Object { return &apps.ReplicaSet{} },
		NewList: func() runtime.Object { return &apps.ReplicaSetList{} },
		Create:  replicaset.Strategy, Update: replicaset.Strategy,
		Attributes:   replicaset.GetAttrs,
		Fields:       []kind.Field{{Name: "status.replicas", Zero: "0"}},
		Subresources: subresources(status(replicaset.StatusStrategy)),
	}}
}

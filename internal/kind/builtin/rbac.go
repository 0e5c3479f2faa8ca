package builtin

import (
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) rbac() []*kind.Kind {
	kinds := []*kind.Kind{{
		Resource: "clusterrolebindings", Name: "ClusterRoleBinding",
		New: object[rbac.ClusterRoleBinding], NewList: object[rbac.ClusterRoleBindingList],
		Create: clusterrolebinding.Strategy, Update: clusterrolebinding.Strategy,
	}, {
		Resource: "clusterroles", Name: "ClusterRole",
		New: object[rbac.ClusterRole], NewList: object[rbac.ClusterRoleList],
		Create: clusterrole.Strategy, Update: clusterrole.Strategy,
		Columns: rest.NewDefaultTableConvertor(rbac.Resource("clusterroles")),
	}, {
		Resource: "rolebindings", Name: "RoleBinding", Namespaced: true,
		New: object[rbac.RoleBinding], NewList: object[rbac.RoleBindingList],
		Create: rolebinding.Strategy, Update: rolebinding.Strategy,
	}, {
		Resource: "roles", Name: "Role", Namespaced: true,
		New: object[rbac.Role], NewList: object[rbac.RoleList],
		Create: role.Strategy, Update: role.Strategy,
		Columns: rest.NewDefaultTableConvertor(rbac.Resource("roles")),
	}}
	for _, k := range kinds {
		k.NoUnsafeDelete = true // upstream's layer that checks for escalation hides the one that could
	}
	return inGroup(rbac.GroupName, kinds...)
}

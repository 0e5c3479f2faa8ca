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
	return inGroup(rbac.GroupName, &kind.Kind{
		Resource: "clusterrolebindings", Name: "ClusterRoleBinding",
		New: object[rbac.ClusterRoleBinding], NewList: object[rbac.ClusterRoleBindingList],
		Create: clusterrolebinding.Strategy, Update: clusterrolebinding.Strategy,
	}, &kind.Kind{
		Resource: "clusterroles", Name: "ClusterRole",
		New: object[rbac.ClusterRole], NewList: object[rbac.ClusterRoleList],
		Create: clusterrole.Strategy, Update: clusterrole.Strategy,
		Columns: rest.NewDefaultTableConvertor(rbac.Resource("clusterroles")),
	}, &kind.Kind{
		Resource: "rolebindings", Name: "RoleBinding", Namespaced: true,
		New: object[rbac.RoleBinding], NewList: object[rbac.RoleBindingList],
		Create: rolebinding.Strategy, Update: rolebinding.Strategy,
	}, &kind.Kind{
		Resource: "roles", Name: "Role", Namespaced: true,
		New: object[rbac.Role], NewList: object[rbac.RoleList],
		Create: role.Strategy, Update: role.Strategy,
		Columns: rest.NewDefaultTableConvertor(rbac.Resource("roles")),
	})
}

package rbac

import (
	"context"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// bootstrapped is the policy that every cluster has, with n further bindings of n users: every other one in one of 100
// namespaces, the rest in the cluster.
func bootstrapped(n int) (*policy, *Authorizer) {
	p, a := newPolicy(), New()
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		p.clusterRoles[role.Name] = &role
		a.index.setRole(roleID{"ClusterRole", objectID{"", role.Name}}, func() *rules { return compile(role.Rules) })
	}
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		p.clusterBindings[binding.Name] = &binding
		a.index.setBinding(objectID{"", binding.Name}, binding.RoleRef, binding.Subjects)
	}
	for i := range n {
		id := objectID{fmt.Sprint("ns", i%100), fmt.Sprint("binding", i)}
		ref := rbacv1.RoleRef{Kind: "ClusterRole", Name: "system:aggregate-to-view"}
		subjects := []rbacv1.Subject{{Kind: "User", Name: fmt.Sprint("user", i)}}
		if i%2 == 0 {
			id.namespace = ""
			p.clusterBindings[id.name] = &rbacv1.ClusterRoleBinding{ObjectMeta: meta(id), RoleRef: ref, Subjects: subjects}
		} else {
			p.bindings[id] = &rbacv1.RoleBinding{ObjectMeta: meta(id), RoleRef: ref, Subjects: subjects}
		}
		a.index.setBinding(id, ref, subjects)
	}
	return p, a
}

// BenchmarkAuthorize asks for a user with a role of its own, what that allows and what nothing does.
func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		p, a := bootstrapped(n)
		lists := &listed{policy: p}
		lists.clusterBindings, _ = p.ListClusterRoleBindings(context.Background())
		lists.bindings = map[string][]*rbacv1.RoleBinding{}
		for id := range p.bindings {
			if lists.bindings[id.namespace] == nil {
				lists.bindings[id.namespace], _ = p.ListRoleBindings(context.Background(), id.namespace)
			}
		}
		upstream := rbac.New(p, lists, p, lists)
		request := &authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: "user5", Groups: []string{"dev", "system:authenticated"}},
			Verb: "get", Namespace: "ns5", Resource: "pods", Name: "p", ResourceRequest: true,
		}
		refused := new(authorizer.AttributesRecord)
		*refused = *request
		refused.Verb = "delete"
		for name, one := range map[string]authorizer.UnconditionalAuthorizer{"kayak": a, "upstream": upstream} {
			b.Run(fmt.Sprintf("%d/allowed/%s", n, name), func(b *testing.B) { authorize(b, one, request, authorizer.DecisionAllow) })
			b.Run(fmt.Sprintf("%d/refused/%s", n, name), func(b *testing.B) { authorize(b, one, refused, authorizer.DecisionNoOpinion) })
		}
	}
}

func authorize(b *testing.B, a authorizer.UnconditionalAuthorizer, request authorizer.Attributes, want authorizer.Decision) {
	b.ReportAllocs()
	for b.Loop() {
		if decision, reason, err := a.Authorize(context.Background(), request); decision != want {
			b.Fatal(decision, reason, err)
		}
	}
}

// listed has its lists ready, which favours upstream: its informers' listers make one for each request.
type listed struct {
	*policy
	bindings        map[string][]*rbacv1.RoleBinding
	clusterBindings []*rbacv1.ClusterRoleBinding
}

func (l *listed) ListRoleBindings(_ context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	return l.bindings[namespace], nil
}

func (l *listed) ListClusterRoleBindings(context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return l.clusterBindings, nil
}

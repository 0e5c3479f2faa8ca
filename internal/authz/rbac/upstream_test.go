package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
	"pgregory.net/rapid"
)

// policy is roles and bindings as upstream's authorizer reads them: lists, here in the order of names.
type policy struct {
	words           words
	roles           map[objectID]*rbacv1.Role
	clusterRoles    map[string]*rbacv1.ClusterRole
	bindings        map[objectID]*rbacv1.RoleBinding
	clusterBindings map[string]*rbacv1.ClusterRoleBinding
}

func newPolicy() *policy {
	return &policy{
		singular, map[objectID]*rbacv1.Role{}, map[string]*rbacv1.ClusterRole{}, map[objectID]*rbacv1.RoleBinding{},
		map[string]*rbacv1.ClusterRoleBinding{},
	}
}

func (p *policy) GetRole(_ context.Context, namespace, name string) (*rbacv1.Role, error) {
	if role := p.roles[objectID{namespace, name}]; role != nil {
		return role, nil
	}
	return nil, apierrors.NewNotFound(rbacv1.Resource(p.words.role), name)
}

func (p *policy) GetClusterRole(_ context.Context, name string) (*rbacv1.ClusterRole, error) {
	if role := p.clusterRoles[name]; role != nil {
		return role, nil
	}
	return nil, apierrors.NewNotFound(rbacv1.Resource(p.words.clusterRole), name)
}

func (p *policy) ListRoleBindings(_ context.Context, namespace string) (list []*rbacv1.RoleBinding, _ error) {
	for id, binding := range p.bindings {
		if id.namespace == namespace {
			list = append(list, binding)
		}
	}
	slices.SortFunc(list, func(a, b *rbacv1.RoleBinding) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (p *policy) ListClusterRoleBindings(context.Context) (list []*rbacv1.ClusterRoleBinding, _ error) {
	for _, binding := range p.clusterBindings {
		list = append(list, binding)
	}
	slices.SortFunc(list, func(a, b *rbacv1.ClusterRoleBinding) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// change makes a random change to both.
func (p *policy) change(t *rapid.T, x *index) {
	id := objectID{rapid.SampledFrom(namespaces).Draw(t, "namespace"), rapid.SampledFrom(names).Draw(t, "name")}
	remove := rapid.IntRange(0, 4).Draw(t, "remove") == 0
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		if remove {
			delete(p.roles, id)
			x.removeRole(roleID{"Role", id})
			return
		}
		role := &rbacv1.Role{ObjectMeta: meta(id), Rules: someRules(t)}
		p.roles[id] = role
		x.setRole(roleID{"Role", id}, func() *rules { return compile(role.Rules) })
	case 1:
		id.namespace = ""
		if remove {
			delete(p.clusterRoles, id.name)
			x.removeRole(roleID{"ClusterRole", id})
			return
		}
		role := &rbacv1.ClusterRole{ObjectMeta: meta(id), Rules: someRules(t)}
		p.clusterRoles[id.name] = role
		x.setRole(roleID{"ClusterRole", id}, func() *rules { return compile(role.Rules) })
	case 2:
		if remove {
			delete(p.bindings, id)
			x.removeBinding(id)
			return
		}
		binding := &rbacv1.RoleBinding{ObjectMeta: meta(id), RoleRef: someRef(t, "Role", "ClusterRole", "Rule"), Subjects: someSubjects(t)}
		p.bindings[id] = binding
		x.setBinding(id, binding.RoleRef, binding.Subjects)
	default:
		id.namespace = ""
		if remove {
			delete(p.clusterBindings, id.name)
			x.removeBinding(id)
			return
		}
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta(id), RoleRef: someRef(t, "ClusterRole"), Subjects: someSubjects(t)}
		p.clusterBindings[id.name] = binding
		x.setBinding(id, binding.RoleRef, binding.Subjects)
	}
}

func meta(id objectID) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: id.namespace, Name: id.name}
}

// Few of everything, so that much of it meets.
var (
	namespaces   = []string{"a", "b"}
	names        = []string{"x", "y", "z", "xy"}
	users        = []string{"jane", "x", "system:serviceaccount:a:x", "system:serviceaccount:b:y", "system:serviceaccount::x"}
	groups       = []string{"dev", "ops", "x"}
	verbs        = []string{"get", "list", "delete", "*"}
	apiGroups    = []string{"", "apps", "*"}
	resources    = []string{"pods", "pods/log", "*/log", "*", "*/*", "deployments", "deployments/scale", "*/scale", "pods/"}
	objects      = []string{"p", "q"}
	paths        = []string{"/healthz", "/healthz/*", "/apis/*", "*", "/", "/logs**"}
	askedPaths   = []string{"/healthz", "/healthz/etcd", "/apis/apps", "/", "", "/logs/x", "*"}
	askedThings  = []string{"pods", "deployments", "*", "pods/log"}
	subresources = []string{"", "log", "scale", "*"}
)

func some(t *rapid.T, from []string, least, most int, what string) []string {
	return rapid.SliceOfN(rapid.SampledFrom(from), least, most).Draw(t, what)
}

func someRules(t *rapid.T) (rules []rbacv1.PolicyRule) {
	for range rapid.IntRange(0, 8).Draw(t, "rules") {
		if rapid.IntRange(0, 3).Draw(t, "path") == 0 {
			rules = append(rules, rbacv1.PolicyRule{Verbs: some(t, verbs, 0, 2, "verbs"), NonResourceURLs: some(t, paths, 0, 3, "paths")})
			continue
		}
		rules = append(rules, rbacv1.PolicyRule{
			Verbs: some(t, verbs, 0, 2, "verbs"), APIGroups: some(t, apiGroups, 0, 2, "groups"),
			Resources: some(t, resources, 0, 3, "resources"), ResourceNames: some(t, objects, 0, 1, "names"),
		})
	}
	return rules
}

func someRef(t *rapid.T, kinds ...string) rbacv1.RoleRef {
	return rbacv1.RoleRef{
		APIGroup: rbacv1.GroupName, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Name: rapid.SampledFrom(names).Draw(t, "role"),
	}
}

func someSubjects(t *rapid.T) (subjects []rbacv1.Subject) {
	for range rapid.IntRange(0, 4).Draw(t, "subjects") {
		switch rapid.IntRange(0, 3).Draw(t, "subject") {
		case 0:
			subjects = append(subjects, rbacv1.Subject{Kind: "User", Name: rapid.SampledFrom(users).Draw(t, "user")})
		case 1:
			subjects = append(subjects, rbacv1.Subject{Kind: "Group", Name: rapid.SampledFrom(groups).Draw(t, "group")})
		case 2:
			subjects = append(subjects, rbacv1.Subject{
				Kind: "ServiceAccount", Name: rapid.SampledFrom(names).Draw(t, "account"),
				Namespace: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "namespace"),
			})
		default:
			subjects = append(subjects, rbacv1.Subject{Kind: "Robot", Name: "x"})
		}
	}
	return subjects
}

func someUser(t *rapid.T) user.Info {
	return &user.DefaultInfo{Name: rapid.SampledFrom(users).Draw(t, "name"), Groups: some(t, groups, 0, 3, "groups")}
}

func someRequest(t *rapid.T) authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{User: someUser(t), Verb: rapid.SampledFrom(verbs).Draw(t, "verb")}
	if rapid.IntRange(0, 3).Draw(t, "path") == 0 {
		a.Path = rapid.SampledFrom(askedPaths).Draw(t, "path")
		return a
	}
	a.ResourceRequest = true
	a.APIGroup = rapid.SampledFrom(apiGroups).Draw(t, "group")
	a.Namespace = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "namespace")
	a.Resource = rapid.SampledFrom(askedThings).Draw(t, "resource")
	a.Subresource = rapid.SampledFrom(subresources).Draw(t, "subresource")
	a.Name = rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "object")
	return a
}

// TestAsUpstream changes a random policy step by step, and asks upstream's authorizer after each step what is right.
func TestAsUpstream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		p, a := newPolicy(), New()
		upstream := rbac.New(p, p, p, p)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			p.change(t, a.index)
			request := someRequest(t)
			decision, reason, _ := a.Authorize(ctx, request)
			wantDecision, wantReason, _ := upstream.Authorize(ctx, request)
			if decision != wantDecision || reason != wantReason {
				t.Fatalf("%+v:\n got %v %q\nwant %v %q", request, decision, reason, wantDecision, wantReason)
			}
			compareRules(t, a, upstream, request)
			compareResolvers(t, p, a, request)
		}
		for id, role := range a.index.roles {
			if !role.exists && role.references == 0 {
				t.Fatalf("%v is kept for nothing", id)
			}
		}
	})
}

func compareRules(t *rapid.T, a *Authorizer, upstream *rbac.RBACAuthorizer, request authorizer.AttributesRecord) {
	ctx := context.Background()
	resources, paths, incomplete, err := a.RulesFor(ctx, request.User, request.Namespace)
	wantResources, wantPaths, wantIncomplete, wantErr := upstream.RulesFor(ctx, request.User, request.Namespace)
	got := []any{resources, paths, incomplete, fmt.Sprint(err)}
	if diff := cmp.Diff([]any{wantResources, wantPaths, wantIncomplete, fmt.Sprint(wantErr)}, got); diff != "" {
		t.Fatalf("RulesFor (-want +got):\n%s", diff)
	}
}

// compareResolvers compares what the escalation check is told with what upstream's storage tells it.
func compareResolvers(t *rapid.T, p *policy, a *Authorizer, request authorizer.AttributesRecord) {
	ctx := context.Background()
	stored := *p
	stored.words = plural
	upstream := validation.NewDefaultRuleResolver(&stored, &stored, &stored, &stored)
	rules, err := resolver{a}.RulesFor(ctx, request.User, request.Namespace)
	wantRules, wantErr := upstream.RulesFor(ctx, request.User, request.Namespace)
	if diff := cmp.Diff([]any{wantRules, fmt.Sprint(wantErr)}, []any{rules, fmt.Sprint(err)}); diff != "" {
		t.Fatalf("the resolver's RulesFor (-want +got):\n%s", diff)
	}
	var got, want []string
	visit := func(into *[]string) func(source fmt.Stringer, rule *rbacv1.PolicyRule, err error) bool {
		return func(source fmt.Stringer, rule *rbacv1.PolicyRule, err error) bool {
			*into = append(*into, fmt.Sprint(source, rule, err))
			return true
		}
	}
	resolver{a}.VisitRulesFor(ctx, request.User, request.Namespace, visit(&got))
	upstream.VisitRulesFor(ctx, request.User, request.Namespace, visit(&want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("VisitRulesFor (-want +got):\n%s", diff)
	}
	ref := someRef(t, "Role", "ClusterRole", "Rule")
	rules, err = resolver{a}.GetRoleReferenceRules(ctx, ref, request.Namespace)
	wantRules, wantErr = upstream.GetRoleReferenceRules(ctx, ref, request.Namespace)
	if diff := cmp.Diff([]any{wantRules, fmt.Sprint(wantErr)}, []any{rules, fmt.Sprint(err)}); diff != "" {
		t.Fatalf("GetRoleReferenceRules (-want +got):\n%s", diff)
	}
}

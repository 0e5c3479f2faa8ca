package controllers_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/verb"
)

var (
	roles               = resource{rbac.GroupName, "roles"}
	roleBindings        = resource{rbac.GroupName, "rolebindings"}
	clusterRoles        = resource{rbac.GroupName, "clusterroles"}
	clusterRoleBindings = resource{rbac.GroupName, "clusterrolebindings"}
)

func (c *cluster) rbacPolicy(a *verb.API) *controllers.RBACPolicy {
	return &controllers.RBACPolicy{
		API: a, Roles: c.resource(roles), ClusterRoles: c.resource(clusterRoles), RoleBindings: c.resource(roleBindings),
		ClusterRoleBindings: c.resource(clusterRoleBindings), Obey: func() {}, Logger: quiet(),
	}
}

func (c *cluster) aggregation(a *verb.API) *controllers.ClusterRoleAggregation {
	return &controllers.ClusterRoleAggregation{API: a, ClusterRoles: c.resource(clusterRoles), Logger: quiet()}
}

// tracking is a server that keeps track of who sets which field.
func (c *cluster) tracking(t testing.TB) *verb.API {
	a := c.server(t)
	a.Fields = managedfields.New()
	return a
}

func (c *cluster) clusterRole(t *testing.T, a *verb.API, name string) *rbacv1.ClusterRole {
	t.Helper()
	obj, err := a.GetObject(t.Context(), c.resource(clusterRoles), "", name)
	if err != nil {
		t.Fatal(err)
	}
	versioned, err := c.resource(clusterRoles).Convert(obj)
	if err != nil {
		t.Fatal(err)
	}
	return versioned.(*rbacv1.ClusterRole)
}

// TestRBACPolicyIsUpstreams compares what is there after the first start with upstream's policy, and lets a second start find
// nothing to do.
func TestRBACPolicyIsUpstreams(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	ensure(t, c.rbacPolicy(a), c.aggregation(a))
	for _, want := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		got := c.clusterRole(t, a, want.Name)
		if want.AggregationRule != nil {
			want.Rules = got.Rules // see TestAggregation
		}
		if diff := cmp.Diff([]any{want.Labels, want.Annotations, want.Rules, want.AggregationRule},
			[]any{got.Labels, got.Annotations, got.Rules, got.AggregationRule}); diff != "" {
			t.Errorf("ClusterRole %s (-upstream +kayak):\n%s", want.Name, diff)
		}
	}
	counts := map[resource]int{clusterRoles: 0, clusterRoleBindings: 0, roles: 0, roleBindings: 0}
	for r := range counts {
		objs, err := a.ListObjects(t.Context(), c.resource(r), "")
		if err != nil {
			t.Fatal(err)
		}
		counts[r] = len(objs)
	}
	want := map[resource]int{
		clusterRoles:        len(bootstrappolicy.ClusterRoles()) + len(bootstrappolicy.ControllerRoles()),
		clusterRoleBindings: len(bootstrappolicy.ClusterRoleBindings()) + len(bootstrappolicy.ControllerRoleBindings()),
	}
	for _, list := range bootstrappolicy.NamespaceRoles() {
		want[roles] += len(list)
	}
	for _, list := range bootstrappolicy.NamespaceRoleBindings() {
		want[roleBindings] += len(list)
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("numbers of objects (-upstream +kayak):\n%s", diff)
	}
	before := a.State.Snapshot().Revision()
	ensure(t, c.rbacPolicy(a), c.aggregation(a))
	if after, err := c.store.Revision(t.Context()); err != nil || after != before {
		t.Errorf("a second start has written something: revision %d after %d (%v)", after, before, err)
	}
}

// TestRBACPolicyReconciles gives what is missing back, leaves what was added, and leaves alone what says so.
func TestRBACPolicyReconciles(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	ensure(t, c.rbacPolicy(a))
	whole := c.clusterRole(t, a, "system:discovery")
	added := rbac.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/added"}}
	change := func(r resource, name string, fn func(runtime.Object)) {
		t.Helper()
		_, err := a.UpdateObject(verb.AsServer(t.Context()), c.resource(r), "", "", name, &metav1.UpdateOptions{},
			func(obj runtime.Object) (runtime.Object, error) {
				fn(obj)
				return obj, nil
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	change(clusterRoles, "system:discovery", func(obj runtime.Object) {
		role := obj.(*rbac.ClusterRole)
		role.Rules, role.Labels = []rbac.PolicyRule{added}, map[string]string{"mine": "yes"}
	})
	change(clusterRoles, "system:basic-user", func(obj runtime.Object) {
		role := obj.(*rbac.ClusterRole)
		role.Rules, role.Annotations = nil, map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
	})
	change(clusterRoleBindings, "system:discovery", func(obj runtime.Object) {
		obj.(*rbac.ClusterRoleBinding).Subjects = []rbac.Subject{{Kind: "User", Name: "jane", APIGroup: rbac.GroupName}}
	})
	ensure(t, c.rbacPolicy(a))
	role := c.clusterRole(t, a, "system:discovery")
	covered, lacks := validation.Covers(role.Rules, whole.Rules)
	if !covered || role.Rules[0].NonResourceURLs[0] != "/added" || role.Labels["mine"] != "yes" ||
		role.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" {
		t.Errorf("system:discovery lacks %+v: %+v", lacks, role)
	}
	if role := c.clusterRole(t, a, "system:basic-user"); len(role.Rules) != 0 {
		t.Errorf("system:basic-user, which is to be left alone, has the rules %+v", role.Rules)
	}
	obj, err := a.GetObject(t.Context(), c.resource(clusterRoleBindings), "", "system:discovery")
	if err != nil {
		t.Fatal(err)
	}
	subjects := obj.(*rbac.ClusterRoleBinding).Subjects
	if len(subjects) != 2 || subjects[0].Name != "jane" || subjects[1].Name != "system:authenticated" {
		t.Errorf("the subjects of system:discovery are %+v", subjects)
	}
}

// TestRBACPolicyFields compares the managed fields that are written down with those that are worked out.
func TestRBACPolicyFields(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	ensure(t, c.rbacPolicy(a))
	for _, r := range []resource{clusterRoles, clusterRoleBindings, roles, roleBindings} {
		objs, err := a.ListObjects(t.Context(), c.resource(r), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range objs {
			m := obj.(metav1.Object)
			got, name, namespace := untimed(m.GetManagedFields()), m.GetName(), m.GetNamespace()
			m.SetManagedFields(nil)
			m.SetResourceVersion("")
			if role, ok := obj.(*rbac.ClusterRole); ok && role.AggregationRule != nil {
				role.Rules, got = nil, got[5:] // applied by somebody else: see TestAggregation
			}
			m.SetName(name + "-tracked")
			tracked, err := a.CreateObjectWith(verb.AsServer(t.Context()), c.resource(r), namespace, obj,
				&metav1.CreateOptions{FieldManager: "kube-apiserver"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(untimed(tracked.(metav1.Object).GetManagedFields()), got); diff != "" {
				t.Errorf("%s %s (-worked out +written down):\n%s", r.name, name, diff)
			}
		}
	}
}

func untimed(entries []metav1.ManagedFieldsEntry) (texts []string) {
	for _, entry := range entries {
		texts = append(texts, entry.Manager, string(entry.Operation), entry.APIVersion, entry.FieldsType, entry.FieldsV1.GetRawString())
	}
	return texts
}

// TestAggregation looks at the rules of admin, edit and view, and at a role that comes later.
func TestAggregation(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	aggregation := c.aggregation(a)
	ensure(t, c.rbacPolicy(a), aggregation)
	rules := func(names ...string) (list []rbacv1.PolicyRule) {
		for _, name := range names {
			list = append(list, c.clusterRole(t, a, name).Rules...)
		}
		return list
	}
	for name, parts := range map[string][]string{
		"view":  {"system:aggregate-to-view"},
		"edit":  {"system:aggregate-to-edit", "system:aggregate-to-view"},
		"admin": {"system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"},
	} {
		got := rules(name)
		for _, want := range rules(parts...) {
			if !slices.ContainsFunc(got, func(rule rbacv1.PolicyRule) bool { return cmp.Equal(rule, want) }) {
				t.Errorf("%s lacks %+v", name, want)
			}
		}
	}
	var manager string
	for _, entry := range c.clusterRole(t, a, "view").ManagedFields {
		if entry.Operation == metav1.ManagedFieldsOperationApply {
			manager = entry.Manager
		}
	}
	if manager != "clusterrole-aggregation-controller" {
		t.Errorf("the rules of view were applied by %q", manager)
	}
	follows(t, c, a, aggregation)
}

// follows lets a role with the label come and go while the controller runs.
func follows(t *testing.T, c *cluster, a *verb.API, aggregation controller) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		aggregation.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	r, before := c.resource(clusterRoles), a.State.Snapshot().Revision()
	_, err := a.CreateObject(verb.AsServer(ctx), r, "", &rbac.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "boats", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbac.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"sea"}, Resources: []string{"boats"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		return slices.ContainsFunc(c.clusterRole(t, a, "admin").Rules, func(rule rbacv1.PolicyRule) bool { return rule.Resources[0] == "boats" })
	}
	// The role itself, and admin, edit and view.
	if _, err := a.State.AtLeast(ctx, before+4); err != nil {
		t.Fatal(err)
	}
	if !has() {
		t.Error("admin does not have what was added to view")
	}
	before = a.State.Snapshot().Revision()
	if _, _, err := a.DeleteObject(verb.AsServer(ctx), r, "", "boats", &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.State.AtLeast(ctx, before+4); err != nil {
		t.Fatal(err)
	}
	if has() {
		t.Error("admin still has what was taken from view")
	}
}

// BenchmarkRBACPolicy is what a start costs on an empty store, and on one that has everything.
func BenchmarkRBACPolicy(b *testing.B) {
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			c := newCluster(b)
			a := c.tracking(b)
			b.StartTimer()
			ensure(b, c.rbacPolicy(a), c.aggregation(a))
		}
	})
	b.Run("warm", func(b *testing.B) {
		c := newCluster(b)
		a := c.tracking(b)
		ensure(b, c.rbacPolicy(a), c.aggregation(a))
		for b.Loop() {
			ensure(b, c.rbacPolicy(a), c.aggregation(a))
		}
	})
}

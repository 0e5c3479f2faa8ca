package rbac_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	rbacapi "k8s.io/kubernetes/pkg/apis/rbac"

	"github.com/kayak-k8s/kayak/internal/authz/rbac"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/verb"
)

const root = "/registry/"

// server is an API with a guard, over a store in memory.
type server struct {
	*verb.API
	table *kind.Table
	rbac  *rbac.Authorizer
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{API: &verb.API{}, rbac: rbac.New()}
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	guard := &rbac.Guard{Authorizer: s.rbac, Rules: s.rbac, State: func() *state.State { return s.State }}
	guard.Hook(kinds...)
	s.table = kind.NewTable(kinds...)
	var families []state.Family
	for _, k := range kinds {
		if k.Group == rbacapi.GroupName || k.Resource == "configmaps" {
			families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
		}
	}
	backend := memory.New()
	*s.API = verb.API{
		State: state.New(state.Options{Store: backend, Prefix: root, Families: families}), Store: backend, Root: root,
		Authorizer: s.rbac, MinRequestTimeout: time.Minute, Stopping: make(chan struct{}), Turns: &verb.Turns{}, Endings: &verb.Endings{},
	}
	s.rbac.Follow(rbac.Source{
		State: s.State, Root: root, Roles: s.kind("roles"), ClusterRoles: s.kind("clusterroles"),
		RoleBindings: s.kind("rolebindings"), ClusterRoleBindings: s.kind("clusterrolebindings"), Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = s.State.Run(ctx) })
	group.Go(func() { s.rbac.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
		_ = backend.Close()
	})
	if err := s.State.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) kind(resource string) *kind.Resource {
	return s.table.Resource(rbacapi.GroupName, "v1", resource)
}

func as(t *testing.T, name string, groups ...string) context.Context {
	return genericrequest.WithUser(t.Context(), &user.DefaultInfo{Name: name, Groups: groups})
}

func (s *server) create(t *testing.T, resource string, obj runtime.Object) {
	t.Helper()
	m := obj.(metav1.Object)
	if _, err := s.CreateObject(as(t, "admin", "system:masters"), s.kind(resource), m.GetNamespace(), obj); err != nil {
		t.Fatal(err)
	}
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func clusterRole(name string, rules ...rbacapi.PolicyRule) *rbacapi.ClusterRole {
	return &rbacapi.ClusterRole{ObjectMeta: named("", name), Rules: rules}
}

func role(namespace, name string, rules ...rbacapi.PolicyRule) *rbacapi.Role {
	return &rbacapi.Role{ObjectMeta: named(namespace, name), Rules: rules}
}

func ref(kind, name string) rbacapi.RoleRef {
	return rbacapi.RoleRef{APIGroup: rbacapi.GroupName, Kind: kind, Name: name}
}

func person(name string) []rbacapi.Subject {
	return []rbacapi.Subject{{APIGroup: rbacapi.GroupName, Kind: "User", Name: name}}
}

func clusterBinding(name, role, user string) *rbacapi.ClusterRoleBinding {
	return &rbacapi.ClusterRoleBinding{ObjectMeta: named("", name), RoleRef: ref("ClusterRole", role), Subjects: person(user)}
}

func binding(namespace, name string, role rbacapi.RoleRef, user string) *rbacapi.RoleBinding {
	return &rbacapi.RoleBinding{ObjectMeta: named(namespace, name), RoleRef: role, Subjects: person(user)}
}

func rule(verb, group, resource string) rbacapi.PolicyRule {
	return rbacapi.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
}

// withWriters makes writer, who may read config maps and nothing else that is of interest, and others who may more.
func withWriters(t *testing.T) *server {
	s := newServer(t)
	s.create(t, "clusterroles", clusterRole("reader", rule("get", "", "configmaps")))
	s.create(t, "clusterrolebindings", clusterBinding("reader", "reader", "writer"))
	s.create(t, "clusterroles", clusterRole("escalator", rule("escalate", rbacapi.GroupName, "roles")))
	s.create(t, "clusterrolebindings", clusterBinding("escalator", "escalator", "escalator"))
	s.create(t, "clusterroles", clusterRole("binder", rule("bind", rbacapi.GroupName, "clusterroles")))
	s.create(t, "clusterrolebindings", clusterBinding("binder", "binder", "binder"))
	s.create(t, "clusterroles", clusterRole("all", rule("*", "*", "*"),
		rbacapi.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}))
	s.create(t, "clusterrolebindings", clusterBinding("all", "all", "root"))
	s.create(t, "roles", role("a", "held", rule("get", "", "configmaps")))
	return s
}

// TestEscalation has upstream's texts: they come from upstream, and must get to the client as they are.
func TestEscalation(t *testing.T) {
	t.Parallel()
	s := withWriters(t)
	const attempt = `user "%s" (groups=["dev"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`
	aggregating := clusterRole("aggregating")
	aggregating.AggregationRule = &rbacapi.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}
	for _, test := range []struct {
		name, user, resource string
		obj                  runtime.Object
		want                 string // "": allowed
	}{
		{"a role of what one has", "writer", "roles", role("a", "r", rule("get", "", "configmaps")), ""},
		{"a role of more", "writer", "roles", role("a", "r", rule("get", "", "secrets")),
			`roles.rbac.authorization.k8s.io "r" is forbidden: ` + fmt.Sprintf(attempt, "writer")},
		{"a role of more, by one who may", "escalator", "roles", role("a", "r", rule("get", "", "secrets")), ""},
		{"a cluster role of more, by one who may that with roles", "escalator", "clusterroles", clusterRole("r", rule("get", "", "secrets")),
			`clusterroles.rbac.authorization.k8s.io "r" is forbidden: ` + fmt.Sprintf(attempt, "escalator")},
		{"a role that gathers", "writer", "clusterroles", aggregating,
			`clusterroles.rbac.authorization.k8s.io "aggregating" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		{"a role that gathers, by one who has all", "root", "clusterroles", aggregating, ""},
		{"a binding of what one has", "writer", "rolebindings", binding("a", "b", ref("Role", "held"), "jane"), ""},
		{"a binding of more", "writer", "clusterrolebindings", clusterBinding("b", "all", "jane"),
			`clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "writer" (groups=["dev"]) is attempting to grant RBAC ` +
				"permissions not currently held:\n" + `{APIGroups:["*"], Resources:["*"], Verbs:["*"]}` + "\n" +
				`{NonResourceURLs:["*"], Verbs:["*"]}`},
		{"a binding of more, by one who may", "binder", "rolebindings", binding("a", "b", ref("ClusterRole", "all"), "jane"), ""},
		{"a binding of what there is not", "writer", "rolebindings", binding("a", "b", ref("Role", "missing"), "jane"),
			`roles.rbac.authorization.k8s.io "missing" not found`},
		{"a binding of what there is not in the cluster", "writer", "clusterrolebindings", clusterBinding("b", "missing", "jane"),
			`clusterroles.rbac.authorization.k8s.io "missing" not found`},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := &metav1.CreateOptions{DryRun: []string{"All"}}
			_, err := s.CreateObjectWith(as(t, test.user, "dev"), s.kind(test.resource), test.obj.(metav1.Object).GetNamespace(),
				test.obj.DeepCopyObject(), options)
			if got := text(err); got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestEscalationByUpdate changes what is there: to more, and only in what the garbage collector is about.
func TestEscalationByUpdate(t *testing.T) {
	t.Parallel()
	s := withWriters(t)
	s.create(t, "roles", role("a", "big", rule("get", "", "secrets")))
	update := func(name string, change func(*rbacapi.Role)) error {
		_, err := s.UpdateObject(as(t, "writer", "dev"), s.kind("roles"), "", "a", name, &metav1.UpdateOptions{},
			func(obj runtime.Object) (runtime.Object, error) {
				change(obj.(*rbacapi.Role))
				return obj, nil
			})
		return err
	}
	const want = `roles.rbac.authorization.k8s.io "held" is forbidden: user "writer" (groups=["dev"]) is attempting to grant RBAC ` +
		"permissions not currently held:\n" + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`
	if err := update("held", func(r *rbacapi.Role) { r.Rules = append(r.Rules, rule("get", "", "secrets")) }); text(err) != want {
		t.Errorf("got %s\nwant %s", text(err), want)
	}
	if err := update("big", func(r *rbacapi.Role) { r.Labels = map[string]string{"a": "b"} }); err == nil {
		t.Error("a role of more than one has could be labelled")
	}
	if err := update("big", func(r *rbacapi.Role) { r.Finalizers = []string{"example.com/keep"} }); err != nil {
		t.Errorf("a finalizer could not be set: %v", err)
	}
}

// TestObeyedWhenAcknowledged gives and takes, and looks at once, while others write.
func TestObeyedWhenAcknowledged(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.create(t, "clusterroles", clusterRole("reader", rule("get", "", "configmaps")))
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			name := fmt.Sprint("user", i)
			request := authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: name}, Verb: "get", Resource: "configmaps", Namespace: "a", ResourceRequest: true,
			}
			for range 50 {
				s.create(t, "rolebindings", binding("a", name, ref("ClusterRole", "reader"), name))
				if decision, reason, _ := s.rbac.Authorize(t.Context(), request); decision != authorizer.DecisionAllow {
					t.Errorf("%s may not what was just given: %s", name, reason)
				}
				if _, _, err := s.DeleteObject(as(t, "admin", "system:masters"), s.kind("rolebindings"), "a", name, &metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
				if decision, reason, _ := s.rbac.Authorize(t.Context(), request); decision == authorizer.DecisionAllow {
					t.Errorf("%s still may what was just taken: %s", name, reason)
				}
			}
		})
	}
	group.Wait()
}

// TestUnreadable: what cannot be read gives nobody anything, and does not keep the rest from being followed.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.create(t, "clusterroles", clusterRole("reader", rule("get", "", "configmaps")))
	s.create(t, "clusterrolebindings", clusterBinding("b", "reader", "jane"))
	request := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "jane"}, Verb: "get", Resource: "configmaps", Namespace: "a", ResourceRequest: true,
	}
	key := s.kind("clusterroles").Key(root, "", "reader")
	snapshot, err := s.State.Consistent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	record := snapshot.Get(key)
	broken := append(slices.Clone(record.Value()), "garbage"...)
	if _, err := s.Store.Put(t.Context(), key, broken[:len(record.Value())/2], record.Revision, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.State.Consistent(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.rbac.CatchUp()
	const want = `RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found`
	if decision, reason, _ := s.rbac.Authorize(t.Context(), request); decision == authorizer.DecisionAllow || reason != want {
		t.Errorf("an unreadable role: %v %q", decision, reason)
	}
	s.create(t, "clusterroles", clusterRole("other", rule("get", "", "configmaps")))
	s.create(t, "clusterrolebindings", clusterBinding("c", "other", "jane"))
	if decision, _, _ := s.rbac.Authorize(t.Context(), request); decision != authorizer.DecisionAllow {
		t.Error("nothing is followed after an object that cannot be read")
	}
}

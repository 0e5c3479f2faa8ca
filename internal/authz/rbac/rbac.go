// Package rbac decides by roles and bindings, compiled.
//
// Upstream's authorizer goes through all bindings for each request. An [Authorizer] keeps them by the users and groups that they
// name, and the rules of a role by the resources that these name, so that a decision takes about a microsecond, however many
// bindings there are. What a rule allows is still upstream's to say (plugin/pkg/auth/authorizer/rbac, RuleAllows), and so are the
// decisions, reasons and errors; a property test compares them. Where several bindings allow, upstream names whichever its cache
// has first; here it is the first by name, those of the cluster before those of the namespace.
//
// # How fresh it is
//
// The index follows the state (package follow). A write to a role or a binding is acknowledged by this server once the index has
// it (see [Guard]), so who was given something may use it at once, and who lost it may not. Writes through other servers are
// obeyed as soon as the state has them; before a no, the index looks whether there is something newer.
//
// # Escalation
//
// Nobody may give what they do not have. [Guard] attaches upstream's rules for that to the four kinds.
package rbac

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kayak-k8s/kayak/internal/authz/follow"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Source is where roles and bindings are.
type Source struct {
	State *state.State
	// Root is the prefix of all keys: "/registry/".
	Root                                                   string
	Roles, ClusterRoles, RoleBindings, ClusterRoleBindings *kind.Resource
	Logger                                                 *slog.Logger
}

// Authorizer decides; see the package comment. It implements authorizer.Authorizer and authorizer.RuleResolver, and may
// be called by any number of goroutines.
type Authorizer struct {
	index    *index
	follower atomic.Pointer[follow.Follower]
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// New returns an authorizer that knows no bindings until it follows a source.
func New() *Authorizer { return &Authorizer{index: newIndex()} }

// Follow tells where roles and bindings are. It must be called once at most.
func (a *Authorizer) Follow(s Source) {
	f := &feed{index: a.index, logger: s.Logger}
	f.tables = []table{
		{s.Roles.KeyPrefix(s.Root, ""), f.setRole(s.Roles), func(id objectID) { f.index.removeRole(roleID{"Role", id}) }},
		{s.ClusterRoles.KeyPrefix(s.Root, ""), f.setRole(s.ClusterRoles),
			func(id objectID) { f.index.removeRole(roleID{"ClusterRole", id}) }},
		{s.RoleBindings.KeyPrefix(s.Root, ""), f.setBinding(s.RoleBindings), f.index.removeBinding},
		{s.ClusterRoleBindings.KeyPrefix(s.Root, ""), f.setBinding(s.ClusterRoleBindings), f.index.removeBinding},
	}
	options := follow.Options{State: s.State, Reset: f.reset, Apply: f.apply, Logger: s.Logger}
	for _, t := range f.tables {
		options.Prefixes = append(options.Prefixes, t.prefix)
	}
	a.follower.Store(follow.New(options))
}

// Run keeps the index true until ctx ends. Follow must have been called.
func (a *Authorizer) Run(ctx context.Context) { a.follower.Load().Run(ctx) }

// CatchUp takes in what the state has applied by now, and reports whether there was anything.
func (a *Authorizer) CatchUp() bool {
	f := a.follower.Load()
	return f != nil && f.CatchUp()
}

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, reason := a.decide(attributes)
	if decision != authorizer.DecisionAllow && a.CatchUp() {
		decision, reason = a.decide(attributes)
	}
	return decision, reason, nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: nothing here has conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attributes authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attributes))
}

// EvaluateConditions implements authorizer.Authorizer.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision,
	authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

func (a *Authorizer) decide(attributes authorizer.Attributes) (authorizer.Decision, string) {
	q := newQuestion(attributes)
	var allowed *grant
	var missing []error
	look := func(g *grant) bool {
		switch rules := g.role.rules(); {
		case rules == nil:
			missing = append(missing, singular.missing(g))
		case rules.allow(&q):
			allowed = g
			return false
		}
		return true
	}
	a.index.mu.RLock()
	defer a.index.mu.RUnlock()
	if a.index.each(attributes.GetUser(), "", look) && attributes.GetNamespace() != "" {
		a.index.each(attributes.GetUser(), attributes.GetNamespace(), look)
	}
	switch {
	case allowed != nil:
		return authorizer.DecisionAllow, allowed.because()
	case len(missing) > 0:
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing))
	}
	return authorizer.DecisionNoOpinion, ""
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo,
	paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	a.CatchUp()
	rules, err := a.rules(u, namespace, singular)
	for i := range rules {
		rule := &rules[i]
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, paths, false, err
}

// rules are those that apply to a user in a namespace; the errors are of roles that do not exist.
func (a *Authorizer) rules(u user.Info, namespace string, words words) (list []rbacv1.PolicyRule, err error) {
	var missing []error
	collect := func(g *grant) bool {
		if rules := g.role.rules(); rules != nil {
			list = append(list, rules.all...)
		} else {
			missing = append(missing, words.missing(g))
		}
		return true
	}
	a.index.mu.RLock()
	defer a.index.mu.RUnlock()
	a.index.each(u, "", collect)
	if namespace != "" {
		a.index.each(u, namespace, collect)
	}
	return list, utilerrors.NewAggregate(missing)
}

// words are what an error calls the two kinds of roles: upstream's caches and its storage do not agree about that.
type words struct{ role, clusterRole string }

var (
	singular = words{"role", "clusterrole"}
	plural   = words{"roles", "clusterroles"}
)

// missing is the error of a binding to a role that there is not.
func (w words) missing(g *grant) error { return w.notFound(g.ref) }

func (w words) notFound(ref rbacv1.RoleRef) error {
	switch ref.Kind {
	case "Role":
		return apierrors.NewNotFound(rbacv1.Resource(w.role), ref.Name)
	case "ClusterRole":
		return apierrors.NewNotFound(rbacv1.Resource(w.clusterRole), ref.Name)
	}
	return fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// feed puts what the state has into the index.
type feed struct {
	index  *index
	tables []table
	logger *slog.Logger
}

// table is one of the four kinds.
type table struct {
	prefix string
	set    func(objectID, *state.Record) error
	remove func(objectID)
}

func (t *table) id(key string) objectID {
	namespace, name, found := strings.Cut(key[len(t.prefix):], "/")
	if !found {
		return objectID{name: namespace}
	}
	return objectID{namespace, name}
}

func (f *feed) reset(snapshot *state.Snapshot) {
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	f.index.clear()
	for i := range f.tables {
		snapshot.Ascend(f.tables[i].prefix, "", func(record *state.Record) bool {
			f.put(&f.tables[i], record)
			return true
		})
	}
}

func (f *feed) apply(event *state.Event) {
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	for i := range f.tables {
		t := &f.tables[i]
		if !strings.HasPrefix(event.Record.Key, t.prefix) {
			continue
		}
		if event.Deleted {
			t.remove(t.id(event.Record.Key))
		} else {
			f.put(t, event.Record)
		}
	}
}

// put takes a record in. What cannot be read gives nobody anything.
func (f *feed) put(t *table, record *state.Record) {
	if err := t.set(t.id(record.Key), record); err != nil {
		f.unreadable(record, err)
		t.remove(t.id(record.Key))
	}
}

func (f *feed) unreadable(record *state.Record, err error) {
	f.logger.Warn("cannot read an object of RBAC, it counts for nothing", "key", record.Key, "error", err)
}

// setRole returns what takes in the roles of a kind.
func (f *feed) setRole(k *kind.Resource) func(objectID, *state.Record) error {
	return func(id objectID, record *state.Record) error {
		f.index.setRole(roleID{k.Name, id}, func() *rules {
			obj, err := k.DecodeVersioned(record.Value())
			if err != nil {
				f.unreadable(record, err)
				return nil
			}
			switch obj := obj.(type) {
			case *rbacv1.Role:
				return compile(obj.Rules)
			case *rbacv1.ClusterRole:
				return compile(obj.Rules)
			}
			return nil
		})
		return nil
	}
}

// setBinding returns what takes in the bindings of a kind.
func (f *feed) setBinding(k *kind.Resource) func(objectID, *state.Record) error {
	return func(id objectID, record *state.Record) error {
		obj, err := k.DecodeVersioned(record.Value())
		switch obj := obj.(type) {
		case *rbacv1.RoleBinding:
			f.index.setBinding(id, obj.RoleRef, obj.Subjects)
		case *rbacv1.ClusterRoleBinding:
			f.index.setBinding(id, obj.RoleRef, obj.Subjects)
		}
		return err
	}
}

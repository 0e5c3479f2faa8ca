package controllers

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kayak-k8s/kayak/internal/authz/follow"
	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// ClusterRoleAggregation gives ClusterRoles with an aggregationRule, admin, edit and view among them, the rules of the ClusterRoles
// that it selects, as the controller of that name in kube-controller-manager does
// (k8s.io/kubernetes/pkg/controller/clusterroleaggregation). Roles that are aggregated from aggregated roles are worked out at
// once, where upstream takes a round of writes for each step.
type ClusterRoleAggregation struct {
	API *verb.API
	// ClusterRoles is rbac.authorization.k8s.io/v1 clusterroles; without it nothing is done.
	ClusterRoles *kind.Resource
	// Premade are objects that need not be made, nil for none. As long as there are no others, there is nothing to aggregate.
	Premade *premade.Set
	Logger  *slog.Logger

	once     sync.Once
	follower *follow.Follower
	// roles are all there are, by name. Only the follower writes it, while CatchUp is called.
	roles map[string]*rbacv1.ClusterRole
}

const aggregationManager = "clusterrole-aggregation-controller"

// Name is upstream's.
func (c *ClusterRoleAggregation) Name() string { return aggregationManager }

// Ensure writes the rules of those that have others. It and Run are not called at the same time.
func (c *ClusterRoleAggregation) Ensure(ctx context.Context) error {
	if c.ClusterRoles == nil {
		return nil
	}
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	if c.asMade(snapshot) {
		return nil
	}
	c.follow().CatchUp()
	return c.write(verb.AsServer(ctx))
}

// Run does so whenever a ClusterRole changes, until ctx ends.
func (c *ClusterRoleAggregation) Run(ctx context.Context) {
	if c.ClusterRoles == nil || !c.waitForOthers(ctx) {
		return
	}
	c.follow().Each(ctx, func() {
		if err := c.write(verb.AsServer(ctx)); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot aggregate ClusterRoles, will try again with the next change", "error", err)
		}
	})
}

// asMade reports whether all ClusterRoles are premade ones, with the rules that they have from the start.
func (c *ClusterRoleAggregation) asMade(snapshot *state.Snapshot) bool {
	if c.Premade == nil {
		return false
	}
	wanted := c.Premade.Under(c.ClusterRoles.KeyPrefix("", ""))
	for _, o := range wanted {
		if record := snapshot.Get(c.API.Root + o.Key); record == nil || !o.Matches(record.Value()) {
			return false
		}
	}
	return snapshot.Count(c.ClusterRoles.KeyPrefix(c.API.Root, ""), "") == len(wanted)
}

// waitForOthers waits until there is something to aggregate; it returns false when ctx has ended.
func (c *ClusterRoleAggregation) waitForOthers(ctx context.Context) bool {
	for {
		snapshot := c.API.State.Snapshot()
		if !c.asMade(snapshot) {
			return true
		}
		cursor, err := c.API.State.Watch(state.Filter{Prefix: c.ClusterRoles.KeyPrefix(c.API.Root, "")}, snapshot.Revision())
		if err != nil {
			return true // too long ago: look at each
		}
		changed := cursor.Wait()
		select {
		case <-changed:
			cursor.Close()
		case <-ctx.Done():
			cursor.Close()
			return false
		}
	}
}

func (c *ClusterRoleAggregation) follow() *follow.Follower {
	c.once.Do(func() {
		prefix := c.ClusterRoles.KeyPrefix(c.API.Root, "")
		put := func(record *state.Record) bool {
			name := strings.TrimPrefix(record.Key, prefix)
			obj, err := c.ClusterRoles.DecodeVersioned(record.Value())
			if role, ok := obj.(*rbacv1.ClusterRole); ok && err == nil {
				c.roles[name] = role
			} else {
				delete(c.roles, name)
			}
			return true
		}
		c.follower = follow.New(follow.Options{
			State: c.API.State, Prefixes: []string{prefix}, Logger: c.Logger,
			Reset: func(snapshot *state.Snapshot) {
				c.roles = map[string]*rbacv1.ClusterRole{}
				snapshot.Ascend(prefix, "", put)
			},
			Apply: func(event *state.Event) {
				if event.Deleted {
					delete(c.roles, strings.TrimPrefix(event.Record.Key, prefix))
				} else {
					put(event.Record)
				}
			},
		})
	})
	return c.follower
}

// write writes what is due.
func (c *ClusterRoleAggregation) write(ctx context.Context) error {
	due, err := aggregate(c.roles)
	if err != nil {
		return err
	}
	return together(due, func(role *rbacv1.ClusterRole) error {
		configuration, err := json.Marshal(map[string]any{
			"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "ClusterRole",
			"metadata": map[string]any{"name": role.Name}, "rules": role.Rules,
		})
		if err != nil {
			return err
		}
		force := true
		options := &metav1.PatchOptions{FieldManager: aggregationManager, Force: &force}
		_, err = c.API.ApplyObject(ctx, c.ClusterRoles, "", role.Name, configuration, options)
		if apierrors.IsNotFound(err) {
			return nil // it has just been deleted
		}
		return err
	})
}

// aggregate returns those of the roles that should have other rules, with the rules that they should have. Where roles are
// aggregated from each other it goes on until nothing changes any more.
func aggregate(roles map[string]*rbacv1.ClusterRole) (due []*rbacv1.ClusterRole, err error) {
	names := make([]string, 0, len(roles))
	for name := range roles {
		names = append(names, name)
	}
	slices.Sort(names)
	next := map[string]*rbacv1.ClusterRole{} // those that are aggregated
	for name, role := range roles {
		if role.AggregationRule != nil {
			next[name] = &rbacv1.ClusterRole{ObjectMeta: role.ObjectMeta, Rules: role.Rules, AggregationRule: role.AggregationRule}
		}
	}
	for range len(next) + 1 {
		changed := false
		for _, role := range next {
			rules, err := aggregated(role, names, func(name string) *rbacv1.ClusterRole {
				if other := next[name]; other != nil {
					return other
				}
				return roles[name]
			})
			if err != nil {
				return nil, err
			}
			if !sameRules(rules, role.Rules) {
				role.Rules, changed = rules, true
			}
		}
		if !changed {
			break
		}
	}
	for name, role := range next {
		if !sameRules(role.Rules, roles[name].Rules) {
			due = append(due, role)
		}
	}
	return due, nil
}

// aggregated are the rules of the roles that are selected, in the order of selectors and names, without those that are there
// already.
func aggregated(role *rbacv1.ClusterRole, names []string, get func(string) *rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	rules, seen := []rbacv1.PolicyRule{}, map[string]bool{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			other := get(name)
			if name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if id := identity(&rule); !seen[id] {
					seen[id] = true
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}

// identity is the same for rules that are semantically equal, and for no others: their encoding. There are too many comparisons for
// reflection.
func identity(rule *rbacv1.PolicyRule) string {
	bytes, err := rule.Marshal()
	if err != nil {
		panic(err) // five lists of strings can be encoded
	}
	return string(bytes)
}

func sameRules(a, b []rbacv1.PolicyRule) bool {
	return slices.EqualFunc(a, b, func(a, b rbacv1.PolicyRule) bool { return identity(&a) == identity(&b) })
}

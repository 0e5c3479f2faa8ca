package rbac

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	rbacapi "k8s.io/kubernetes/pkg/apis/rbac"
	rbacregistry "k8s.io/kubernetes/pkg/registry/rbac"
	clusterrolepolicy "k8s.io/kubernetes/pkg/registry/rbac/clusterrole/policybased"
	clusterrolebindingpolicy "k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding/policybased"
	rolepolicy "k8s.io/kubernetes/pkg/registry/rbac/role/policybased"
	rolebindingpolicy "k8s.io/kubernetes/pkg/registry/rbac/rolebinding/policybased"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Guard sees to writes of roles and bindings: nobody gives what they do not have, unless they may "escalate" or "bind", and a
// write is obeyed before it is acknowledged.
type Guard struct {
	// Authorizer is asked for the verbs escalate and bind.
	Authorizer authorizer.UnconditionalAuthorizer
	// Rules know what users have.
	Rules *Authorizer
	// State returns what Rules follow; it is called while requests are served.
	State func() *state.State
}

// layer is upstream's storage that checks, around another.
type layer interface {
	rest.Creater
	rest.Updater
}

// Hook attaches the guard to the four kinds, which must be among kinds, and not part of a table yet.
func (g *Guard) Hook(kinds ...*kind.Kind) {
	rules := resolver{g.Rules}
	layers := map[string]func(rest.StandardStorage) layer{
		"roles":               func(s rest.StandardStorage) layer { return rolepolicy.NewStorage(s, g.Authorizer, rules) },
		"clusterroles":        func(s rest.StandardStorage) layer { return clusterrolepolicy.NewStorage(s, g.Authorizer, rules) },
		"rolebindings":        func(s rest.StandardStorage) layer { return rolebindingpolicy.NewStorage(s, g.Authorizer, rules) },
		"clusterrolebindings": func(s rest.StandardStorage) layer { return clusterrolebindingpolicy.NewStorage(s, g.Authorizer, rules) },
	}
	for _, k := range kinds {
		if k.Group == rbacapi.GroupName && layers[k.Resource] != nil {
			g.hook(k, layers[k.Resource])
		}
	}
}

func (g *Guard) hook(k *kind.Kind, wrap func(rest.StandardStorage) layer) {
	k.BeginCreate = func(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (kind.Finish, error) {
		if err := g.refresh(ctx); err != nil {
			return nil, err
		}
		_, err := wrap(passed{}).Create(ctx, obj, nil, options)
		return g.obeyed, err
	}
	k.BeginUpdate = func(ctx context.Context, obj, existing runtime.Object, options *metav1.UpdateOptions) (kind.Finish, error) {
		if err := g.refresh(ctx); err != nil {
			return nil, err
		}
		_, _, err := wrap(passed{existing: existing}).Update(ctx, "", rest.DefaultUpdatedObjectInfo(obj), nil, nil, false, options)
		return g.obeyed, err
	}
	k.AfterDelete = func(_ runtime.Object, options *metav1.DeleteOptions) {
		g.obeyed(context.Background(), len(options.DryRun) == 0)
	}
}

// passed is the storage behind upstream's layer, which only what is allowed gets to. It stores nothing: that is for the verbs.
type passed struct {
	rest.StandardStorage
	existing runtime.Object
}

func (passed) Create(_ context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	return obj, nil
}

func (p passed) Update(ctx context.Context, _ string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	_ rest.ValidateObjectUpdateFunc, _ bool, _ *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, err := info.UpdatedObject(ctx, p.existing)
	return obj, false, err
}

// refresh makes sure that what users have is judged as it is now, unless the user is one who may do everything anyway.
func (g *Guard) refresh(ctx context.Context) error {
	if privileged(ctx) {
		return nil
	}
	if _, err := g.State().Consistent(ctx); err != nil {
		return err
	}
	g.Rules.CatchUp()
	return nil
}

// obeyTime bounds the wait for a store that does not answer any more. The write is done, and will be obeyed when it is back.
const obeyTime = time.Second

// obeyed returns when the index has what was just written.
func (g *Guard) obeyed(ctx context.Context, written bool) {
	if !written || waitsLater(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, obeyTime)
	defer cancel()
	if _, err := g.State().Consistent(ctx); err == nil {
		g.Rules.CatchUp()
	}
}

type laterKey struct{}

// ObeyLater returns a context whose writes do not wait until they are obeyed: for one who writes many and calls CatchUp in the
// end.
func ObeyLater(ctx context.Context) context.Context { return context.WithValue(ctx, laterKey{}, true) }

func waitsLater(ctx context.Context) bool { return ctx.Value(laterKey{}) != nil }

// resolver tells upstream's layer what users have, and what roles hold. Errors are in the words of upstream's storage.
type resolver struct{ *Authorizer }

var _ validation.AuthorizationRuleResolver = resolver{}

// RulesFor implements validation.AuthorizationRuleResolver.
func (r resolver) RulesFor(_ context.Context, u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	return r.rules(u, namespace, plural)
}

// VisitRulesFor implements validation.AuthorizationRuleResolver.
func (r resolver) VisitRulesFor(_ context.Context, u user.Info, namespace string,
	visit func(source fmt.Stringer, rule *rbacv1.PolicyRule, err error) bool) {
	each := func(g *grant) bool {
		rules := g.role.rules()
		if rules == nil {
			return visit(nil, nil, plural.missing(g))
		}
		for i := range rules.all {
			if !visit(g, &rules.all[i], nil) {
				return false
			}
		}
		return true
	}
	r.index.mu.RLock()
	defer r.index.mu.RUnlock()
	if r.index.each(u, "", each) && namespace != "" {
		r.index.each(u, namespace, each)
	}
}

// GetRoleReferenceRules implements validation.AuthorizationRuleResolver.
func (r resolver) GetRoleReferenceRules(_ context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	r.index.mu.RLock()
	defer r.index.mu.RUnlock()
	if role := r.index.roles[reference(namespace, ref)]; role != nil {
		if rules := role.rules(); rules != nil {
			return rules.all, nil
		}
	}
	return nil, plural.notFound(ref)
}

func privileged(ctx context.Context) bool { return rbacregistry.EscalationAllowed(ctx) }

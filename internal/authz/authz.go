// Package authz decides whether a user may make a request.
//
// It is a chain of authorizers, upstream's union of upstream's contract (authorizer.Authorizer), asked in order; the first that
// allows or denies ends it, and when none has an opinion the answer is no. Members of system:masters may do everything, before
// anybody is asked. Which authorizers there are says [Config]: the modes of kube-apiserver, in the order that is given, or a
// configuration file, which is read again when it has changed (reload.go). RBAC is kayak's own ([rbac.Authorizer], compiled), the
// Node authorizer is upstream's, with a graph that is fed from the state ([node.Authorizer]), the rest is upstream's as it is.
//
// An [Authorizer] is made early, because kinds and actions ask it; it refuses everything but system:masters until [Authorizer.Start]
// has put the chain together.
package authz

import (
	"context"
	"log/slog"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
)

// Environment is what the server has for authorization.
type Environment struct {
	// RBAC and Node are asked where the configuration says so. They must be given.
	RBAC, Node Mode
	Logger     *slog.Logger
}

// Mode is an authorizer that can also list what a user may do.
type Mode interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// Authorizer is the chain. It may be called by any number of goroutines.
type Authorizer struct {
	current atomic.Pointer[chain]
}

// chain is what one configuration asks for. It does not change.
type chain struct {
	authorizer.Authorizer
	authorizer.RuleResolver
}

var (
	_ authorizer.UnconditionalAuthorizer = (*Authorizer)(nil)
	_ authorizer.RuleResolver            = (*Authorizer)(nil)
)

// New returns an authorizer that is not started.
func New() *Authorizer {
	a := &Authorizer{}
	a.current.Store(&chain{authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), union.NewRuleResolvers()})
	return a
}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (a *Authorizer) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	return a.current.Load().Authorize(ctx, attributes)
}

// RulesFor implements authorizer.RuleResolver, for "kubectl auth can-i --list".
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo,
	[]authorizer.NonResourceRuleInfo, bool, error) {
	return a.current.Load().RulesFor(ctx, u, namespace)
}

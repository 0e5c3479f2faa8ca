// Package authz decides whether a user may make a request.
//
// It is a chain of authorizers (authorizer.Authorizer, upstream's contract), asked in order; the first that allows or denies
// ends it, and when none has an opinion the answer is no.
package authz

import (
	"context"
	"slices"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Chain is authorizers in order.
type Chain []authorizer.UnconditionalAuthorizer

// New returns the chain: members of system:masters may do everything, and everybody may read what says nothing of the cluster
// but that it is there; then others are asked, in order.
func New(others ...authorizer.UnconditionalAuthorizer) Chain {
	return append(Chain{superuser(), publicInfo()}, others...)
}

// Authorize implements authorizer.UnconditionalAuthorizer. Reasons and errors of those that had no opinion are joined.
func (c Chain) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, one := range c {
		decision, reason, err := one.Authorize(ctx, a)
		if decision != authorizer.DecisionNoOpinion {
			return decision, reason, err
		}
		if err != nil {
			errs = append(errs, err)
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return authorizer.DecisionNoOpinion, strings.Join(reasons, "\n"), utilerrors.NewAggregate(errs)
}

func superuser() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser() != nil && slices.Contains(a.GetUser().GetGroups(), user.SystemPrivilegedGroup) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

// publicPaths are those of the role system:public-info-viewer
// (k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy), which every cluster starts with.
var publicPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}

func publicInfo() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if !a.IsResourceRequest() && a.GetVerb() == "get" && slices.Contains(publicPaths, a.GetPath()) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

package kayak

import (
	"context"
	"fmt"

	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/authz/node"
	"github.com/kayak-k8s/kayak/internal/authz/rbac"
	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/controllers/manager"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// AuthorizationConfig says who may do what; its fields are named after kube-apiserver's flags. The zero value asks the modes Node
// and RBAC.
type AuthorizationConfig = authz.Config

// AuthorizationWebhookConfig says which webhook is asked in the mode Webhook.
type AuthorizationWebhookConfig = authz.Webhook

// authorization is what decides who may do what.
type authorization struct {
	*authz.Authorizer
	rbac *rbac.Authorizer
	node *node.Authorizer
	// guard sees to writes of roles and bindings.
	guard *rbac.Guard
}

// newAuthorization returns what the kinds are made with. It allows nothing but to system:masters until authorize is called. What
// works in the background ends with life.
func (s *Server) newAuthorization(life context.Context) *authorization {
	a := &authorization{Authorizer: authz.New(), rbac: rbac.New(), node: node.New(life)}
	a.guard = &rbac.Guard{Authorizer: a, Rules: a.rbac, State: func() *state.State { return s.state }}
	return a
}

// authorize puts the chain of authorizers together, when there is a state to follow.
func (s *Server) authorize(life context.Context, p *parts) error {
	const group = "rbac.authorization.k8s.io"
	p.authorizer.rbac.Follow(rbac.Source{
		State: s.state, Root: p.root, Logger: s.log,
		Roles: p.resource(group, "v1", "roles"), ClusterRoles: p.resource(group, "v1", "clusterroles"),
		RoleBindings: p.resource(group, "v1", "rolebindings"), ClusterRoleBindings: p.resource(group, "v1", "clusterrolebindings"),
	})
	s.goRun(func() { p.authorizer.rbac.Run(life) })
	p.authorizer.node.Follow(node.Source{
		State: s.state, Root: p.root, Logger: s.log,
		Kinds: []*kind.Resource{
			p.resource("", "v1", "pods"), p.resource("", "v1", "persistentvolumes"),
			p.resource("storage.k8s.io", "v1", "volumeattachments"), p.resource("resource.k8s.io", "v1", "resourceslices"),
			p.resource("certificates.k8s.io", "v1", "podcertificaterequests"),
		},
	})
	err := p.authorizer.Start(life, s.config.Authorization, authz.Environment{
		RBAC: p.authorizer.rbac, Node: p.authorizer.node, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("cannot set up authorization: %w", err)
	}
	return nil
}

// authorizationControllers keep roles and bindings in order.
func (s *Server) authorizationControllers(p *parts) []controller {
	const group = "rbac.authorization.k8s.io"
	clusterRoles := p.resource(group, "v1", "clusterroles")
	list := []controller{&controllers.RBACPolicy{
		API: p.api, Roles: p.resource(group, "v1", "roles"), ClusterRoles: clusterRoles,
		RoleBindings: p.resource(group, "v1", "rolebindings"), ClusterRoleBindings: p.resource(group, "v1", "clusterrolebindings"),
		Premade: s.premade(),
		Obey:    func() { p.authorizer.rbac.CatchUp() }, Logger: s.log,
	}}
	aggregation := &controllers.ClusterRoleAggregation{API: p.api, ClusterRoles: clusterRoles, Premade: s.premade(), Logger: s.log}
	if manager.On(s.config.Controllers, aggregation.Name()) {
		list = append(list, aggregation)
	}
	return list
}

// withoutAnonymous switches anonymous requests off where everybody may do everything, as upstream does.
func (c *Config) withoutAnonymous() {
	anonymous := c.Authentication.Anonymous
	if !c.Authorization.AlwaysAllows() || c.Authentication.ConfigFile != "" || anonymous != nil && !*anonymous {
		return
	}
	c.Logger.Warn("AnonymousAuth is not allowed with the AlwaysAllow authorizer. Resetting AnonymousAuth to false. You should use a " +
		"different authorizer")
	c.Authentication.Anonymous = new(bool)
}

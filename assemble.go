package kayak

import (
	"context"
	"crypto/x509"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/openapi"
	"github.com/kayak-k8s/kayak/internal/server"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// controller keeps something in order that every cluster has.
type controller interface {
	// Name is what an error says of it.
	Name() string
	// Ensure makes what is missing, before the server says that it is ready.
	Ensure(ctx context.Context) error
	// Run looks after it until ctx ends.
	Run(ctx context.Context)
}

// assembled is what start needs of the parts.
type assembled struct {
	controllers []controller
	started     chan struct{}
}

// assemble puts the parts together; nothing runs yet.
func (s *Server) assemble() (*assembled, error) {
	authorizer := authz.New()
	kinds, err := builtin.Kinds(builtin.Options{Authorizer: authorizer})
	if err != nil {
		return nil, err
	}
	table := kind.NewTable(kinds...)
	root := "/" + strings.Trim(s.config.Etcd.Prefix, "/") + "/" // with or without slashes, as upstream
	s.state = state.New(state.Options{
		Store: s.store, Prefix: root, Families: families(table, root), Logger: s.log,
		HistoryBytes: s.config.HistoryBytes, EncodingBytes: s.config.EncodingCacheBytes,
	})
	stopping := make(chan struct{})
	api := &verb.API{
		State: s.state, Store: s.store, Root: root, Authorizer: authorizer,
		EventTTL: s.config.EventTTL, MinRequestTimeout: s.config.MinRequestTimeout,
		DeleteCollectionWorkers: s.config.DeleteCollectionWorkers, Stopping: stopping,
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.material.CA.CertPEM)
	chain := &authn.Chain{
		Plugins: []authenticator.Request{
			authn.NewCertificates(func() *x509.CertPool { return clients }),
			authn.NewTokens(),
		},
		Anonymous: *s.config.AnonymousAuth,
	}
	started := make(chan struct{})
	// What is not served is still stored, and the server's own parts may need it.
	served := table.Select(s.apis.Enabled)
	documents := discovery.New(served, discovery.Options{ServerAddress: s.listener.Addr().String()})
	s.http = server.New(server.Options{
		Kinds: served, API: api, Discovery: documents, OpenAPI: openapi.New(served),
		Authenticate: chain.Authenticate, Authorizer: authorizer,
		Checks: s.checks(started), Metrics: server.NewMetrics(),
		MaxReadOnly: s.config.MaxRequestsInflight, MaxMutating: s.config.MaxMutatingRequestsInflight,
		RequestTimeout: s.config.RequestTimeout, Stopping: stopping, Logs: s.logs, Logger: s.log,
	})
	documents.SetPaths(s.http.Paths())
	return &assembled{
		controllers: []controller{
			&controllers.SystemNamespaces{API: api, Resource: table.Resource("", "v1", "namespaces"), Logger: s.log},
		},
		started: started,
	}, nil
}

// families tells the state which keys belong together.
func families(table *kind.Table, root string) []state.Family {
	var list []state.Family
	seen := map[string]bool{}
	for _, k := range table.Kinds() {
		if !k.Stored() || seen[k.Prefix] { // the two groups that have events share their keys
			continue
		}
		seen[k.Prefix] = true
		list = append(list, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
	}
	return list
}

package kayak

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/core"
	discoveryapi "k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"

	"github.com/kayak-k8s/kayak/internal/actions"
	"github.com/kayak-k8s/kayak/internal/connect"
	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/kind/custom"
	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/server"
	"github.com/kayak-k8s/kayak/internal/services"
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

// parts are what a server is put together from. Kinds have hooks and actions that use the verbs, which know the kinds: so those
// are given api and resource, which work once everything is there.
type parts struct {
	root        string
	api         *verb.API
	table       *kind.Table
	served      *kind.Table // the kinds that are served without custom resources
	authorizer  *authorization
	objects     *services.Server
	allocator   *services.Allocator
	connections *connect.Connections
	service     *controllers.KubernetesService
	authn       *authentication

	// custom has the custom resources.
	custom *custom.Registry

	controllers []controller
	// policy are the controllers of roles and bindings.
	policy []controller
	// started is closed when the controllers have made what was missing.
	started  chan struct{}
	refusals refusals
}

// resource returns a kind in a version, served or not.
func (p *parts) resource(group, version, name string) *kind.Resource {
	return p.table.Resource(group, version, name)
}

// resolve finds the resource of a kind.
func (p *parts) resolve(gvk schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	for _, r := range p.table.Version(gvk.Group, gvk.Version) {
		if r.Name == gvk.Kind {
			return r.GVR(), nil
		}
	}
	return schema.GroupVersionResource{}, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
}

// lookup reads a cluster-scoped object.
func (p *parts) lookup(ctx context.Context, resource schema.GroupResource, name string) (runtime.Object, error) {
	versions := p.table.GroupVersions(resource.Group)
	for _, version := range versions {
		if r := p.resource(resource.Group, version, resource.Resource); r != nil {
			return p.api.GetObject(ctx, r, "", name)
		}
	}
	return nil, fmt.Errorf("there is no resource %s", resource)
}

// assemble puts the parts together. Nothing runs yet, but what authentication has in the background, which ends with life.
func (s *Server) assemble(life context.Context) (p *parts, err error) {
	p = &parts{
		root:       s.root(),
		api:        &verb.API{},
		authorizer: s.newAuthorization(life),
		objects:    &services.Server{},
		started:    make(chan struct{}),
		refusals:   refusals{log: s.log},
	}
	if p.authn, err = s.authenticate(life, p); err != nil {
		return nil, err
	}
	if err := s.makeKinds(p); err != nil {
		return nil, err
	}
	s.state = state.New(state.Options{
		Store: s.store, Prefix: p.root, Families: families(p.table, p.root), Logger: s.log,
		HistoryBytes: s.config.HistoryBytes, EncodingBytes: s.config.EncodingCacheBytes,
	})
	if err := s.authorize(life, p); err != nil {
		return nil, err
	}
	stopping := make(chan struct{})
	*p.api = verb.API{
		State: s.state, Store: s.store, Root: p.root, Authorizer: p.authorizer, Fields: managedfields.New(),
		EventTTL: s.config.EventTTL, MinRequestTimeout: s.config.MinRequestTimeout,
		DeleteCollectionWorkers: s.config.DeleteCollectionWorkers, Stopping: stopping, Turns: &verb.Turns{}, Endings: &verb.Endings{},
	}
	p.objects.Connect(p.api, p.table)
	// What is not served is still stored, and the server's own parts may need it.
	served := p.table.Select(s.apis.Enabled)
	p.served = served
	if err := p.custom.Connect(p.table, served); err != nil {
		return nil, err
	}
	documents := newDocuments(p.custom, served, s.listener.Addr().String())
	metrics := newMetrics()
	s.http = server.New(server.Options{
		Kinds: served, Custom: p.custom.Table, CatchUp: p.custom.CatchUp, API: p.api,
		Discovery: documents.discovery, OpenAPI: documents.openAPI,
		Authenticate: p.authn.chain.Authenticate, Refuse: p.authn.chain.Refuse, Authorizer: p.authorizer, Audit: s.audit, Documents: p.authn.documents,
		Middleware: s.config.Middleware, NoHTTP2: s.config.Serving.NoHTTP2, MaxStreams: s.config.Serving.MaxStreamsPerConnection,
		Checks: s.checks(p.started), Metrics: metrics,
		MaxReadOnly: s.config.MaxRequestsInflight, MaxMutating: s.config.MaxMutatingRequestsInflight,
		RequestTimeout: s.config.RequestTimeout, Stopping: stopping, Profiling: s.config.Profiling, Logs: s.logs, Logger: s.log,
	})
	documents.paths = s.http.Paths
	if err := s.admission(life, p, metrics); err != nil {
		return nil, err
	}
	p.service = s.kubernetesService(p)
	p.controllers = s.controllers(p)
	p.policy = s.authorizationControllers(p)
	return p, nil
}

// makeKinds makes the table of kinds, with the hooks and actions that this server has for them.
func (s *Server) makeKinds(p *parts) (err error) {
	if p.connections, err = s.connect(p); err != nil {
		return err
	}
	storages := map[schema.GroupResource]rest.Storage{}
	for name, storage := range p.connections.Storage() {
		storages[schema.GroupResource{Resource: name}] = storage
	}
	maps.Copy(storages, s.actions(p))
	kinds, err := builtin.Kinds(builtin.Options{
		Authorizer: p.authorizer, Resolver: resolver.ResourceResolverFunc(p.resolve), Lookup: p.lookup,
		PrimaryIPFamily: api.IPFamily(s.primaryFamily()), Storages: storages,
	})
	if err != nil {
		return err
	}
	p.allocator, err = services.New(services.Options{
		Objects: p.objects, Store: s.store, Root: p.root, Ranges: s.config.ServiceClusterIPRange,
		NodePorts: s.config.ServiceNodePortRange, Logger: s.log,
	})
	if err != nil {
		return err
	}
	p.allocator.Hook(kinds...)
	govern(kinds)
	p.authorizer.guard.Hook(kinds...)
	if p.custom, err = s.customResources(p); err != nil {
		return err
	}
	p.custom.Hook(kinds...)
	p.table = kind.NewTable(kinds...)
	return nil
}

// actions are what is done to objects that is no plain write.
func (s *Server) actions(p *parts) map[schema.GroupResource]rest.Storage {
	config := &s.config.Authentication
	return actions.Storages(actions.Options{
		API: p.api, Resource: p.resource,
		Authenticator: p.authn.chain, Authorizer: p.authorizer, RuleResolver: p.authorizer,
		Audiences: config.Audiences, Tokens: p.authn.tokens(config),
		Stores: []func(context.Context) error{s.storeReachable},
	})
}

func (s *Server) storeReachable(ctx context.Context) error {
	_, err := s.store.Status(ctx)
	return err
}

func (s *Server) primaryFamily() corev1.IPFamily {
	if s.config.ServiceClusterIPRange[0].Addr().Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// connect makes what leads to kubelets, pods and services.
func (s *Server) connect(p *parts) (*connect.Connections, error) {
	get := func(resource string) connect.Getter {
		return func(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
			return p.api.GetObject(ctx, p.resource("", "v1", resource), genericrequest.NamespaceValue(ctx), name)
		}
	}
	connections, err := connect.New(connect.Options{
		Pods: get("pods"), Nodes: get("nodes"), Services: get("services"), EndpointSlices: p.endpointSlices,
		IPFamily: s.primaryFamily(), Authorizer: p.authorizer, Kubelet: s.config.Kubelet.options(),
		Self: s.ownAddresses, AllowLoopback: s.config.Kubelet.AllowLoopback,
	})
	if err == nil {
		s.connections = connections
	}
	return connections, err
}

// endpointSlices lists those of a service in the context's namespace.
func (p *parts) endpointSlices(ctx context.Context, service string) ([]*discoveryapi.EndpointSlice, error) {
	objs, err := p.api.ListObjects(ctx, p.resource("discovery.k8s.io", "v1", "endpointslices"), genericrequest.NamespaceValue(ctx))
	var found []*discoveryapi.EndpointSlice
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryapi.EndpointSlice); ok && slice.Labels[discoveryv1.LabelServiceName] == service {
			found = append(found, slice)
		}
	}
	return found, err
}

// ownAddresses are those that lead back to this server.
func (s *Server) ownAddresses() []netip.AddrPort {
	own := []netip.AddrPort{netip.AddrPortFrom(s.config.serviceIP(), 443)}
	if address, ok := s.listener.Addr().(*net.TCPAddr); ok {
		own = append(own, address.AddrPort())
	}
	return own
}

// premade are the objects that need not be made; none where files may have webhooks and policies, which have a say in them.
func (s *Server) premade() *premade.Set {
	if s.config.Admission.ConfigFile != "" {
		return nil
	}
	return premade.Default()
}

// controllers are what the server keeps in order, in the order in which one needs the other.
func (s *Server) controllers(p *parts) []controller {
	return []controller{
		&controllers.SystemNamespaces{API: p.api, Resource: p.resource("", "v1", "namespaces"), Premade: s.premade(), Logger: s.log},
		s.clusterAuthentication(p),
		&controllers.LegacyTokens{API: p.api, ConfigMaps: p.resource("", "v1", "configmaps"), Logger: s.log},
		&services.DefaultCIDR{Objects: p.objects, Ranges: s.config.ServiceClusterIPRange, Logger: s.log},
		&services.Repair{Allocator: p.allocator, Objects: p.objects, Logger: s.log},
		&controllers.PriorityClasses{
			API: p.api, Resource: p.resource("scheduling.k8s.io", "v1", "priorityclasses"), Premade: s.premade(), Logger: s.log,
		},
		&controllers.FlowControl{
			API: p.api, FlowSchemas: p.resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas"),
			PriorityLevels: p.resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations"), Premade: s.premade(),
			Logger: s.log,
		},
		p.custom,
		&controllers.APIServices{
			API: p.api, Resource: p.resource("apiregistration.k8s.io", "v1", "apiservices"), BuiltIn: p.served, Served: p.servedKinds,
			Premade: s.premade(), Logger: s.log,
		},
		p.service, // the last: it makes pods come here
	}
}

// clusterAuthentication tells others whom this server believes. An authority that is made anew with every start is left out where
// what is told is not.
func (s *Server) clusterAuthentication(p *parts) *controllers.ClusterAuthentication {
	config := &s.config.Authentication
	c := &controllers.ClusterAuthentication{
		API: p.api, Resource: p.resource("", "v1", "configmaps"), ClientCAFile: config.ClientCAFile,
		FrontProxyCAFile: config.FrontProxy.CAFile, UsernameHeaders: config.FrontProxy.UsernameHeaders,
		UIDHeaders: config.FrontProxy.UIDHeaders, GroupHeaders: config.FrontProxy.GroupHeaders,
		ExtraHeaderPrefixes: config.FrontProxy.ExtraHeaderPrefixes, AllowedNames: config.FrontProxy.AllowedNames, Logger: s.log,
	}
	if s.config.DataDir != "" || len(s.config.Etcd.Servers) == 0 {
		c.ClientCA = s.material.CA.CertPEM
	}
	return c
}

func (s *Server) kubernetesService(p *parts) *controllers.KubernetesService {
	if !s.advertise.IsValid() {
		s.log.Info("this server is no endpoint of the Service kubernetes", "reconciler", s.config.EndpointReconcilerType,
			"bindAddress", s.config.BindAddress)
	}
	return controllers.NewKubernetesService(controllers.KubernetesServiceOptions{
		API: p.api, Services: p.resource("", "v1", "services"), Endpoints: p.resource("", "v1", "endpoints"),
		EndpointSlices: p.resource("discovery.k8s.io", "v1", "endpointslices"),
		Address:        s.config.serviceIP(), Advertise: s.advertise,
		Port: s.listener.Addr().(*net.TCPAddr).Port, NodePort: s.config.KubernetesServiceNodePort,
		Logger: s.log,
	})
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

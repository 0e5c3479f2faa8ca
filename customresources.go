package kayak

import (
	"context"
	"net/url"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	listersv1 "k8s.io/client-go/listers/core/v1"

	"github.com/kayak-k8s/kayak/internal/admission"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/custom"
	"github.com/kayak-k8s/kayak/internal/openapi"
)

// customResources makes the registry of custom resources.
func (s *Server) customResources(p *parts) (*custom.Registry, error) {
	return custom.New(custom.Options{
		API: p.api, Logger: s.log,
		Services:       webhookServices{p},
		Authentication: admission.WithoutRedirects(noCredentials),
	})
}

// noCredentials is what upstream has for conversion webhooks: the kubeconfigs of admission's configuration are not for them. (There,
// a webhook at the Service kubernetes is called as the server itself; but that is no webhook that converts.)
func noCredentials(upstream webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	return upstream
}

// webhookServices finds the cluster IPs of services that webhooks are at.
type webhookServices struct{ parts *parts }

func (w webhookServices) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return proxy.ResolveCluster(serviceLister{parts: w.parts}, namespace, name, port)
}

// serviceLister shows the services that the state has as upstream's proxies want to look them up: one at a time.
type serviceLister struct {
	parts     *parts
	namespace string
}

func (l serviceLister) List(labels.Selector) ([]*corev1.Service, error) { return nil, nil }

func (l serviceLister) Services(namespace string) listersv1.ServiceNamespaceLister {
	l.namespace = namespace
	return l
}

func (l serviceLister) Get(name string) (*corev1.Service, error) {
	resource := l.parts.resource("", "v1", "services")
	obj, err := l.parts.api.KnownObject(context.Background(), resource, l.namespace, name)
	if err != nil {
		return nil, err
	}
	versioned, err := resource.Convert(obj)
	if err != nil {
		return nil, err
	}
	return versioned.(*corev1.Service), nil
}

// documents are those about all kinds, custom resources included: made when somebody asks, and made anew when the table has changed.
type documents struct {
	registry *custom.Registry
	// builtIn are the kinds that are served without custom resources.
	builtIn *kind.Table
	address string
	paths   func() []string

	mu               sync.Mutex // guards the following fields
	discoveryOf      *kind.Table
	currentDiscovery *discovery.Handler
	openAPIOf        *kind.Table
	currentOpenAPI   *openapi.Handler
}

func newDocuments(registry *custom.Registry, served *kind.Table, address string) *documents {
	return &documents{registry: registry, builtIn: served, address: address}
}

func (d *documents) discovery() *discovery.Handler {
	table := d.registry.Table()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.currentDiscovery == nil {
		d.currentDiscovery, d.discoveryOf = discovery.New(d.builtIn, discovery.Options{ServerAddress: d.address}), d.builtIn
		d.currentDiscovery.SetPaths(d.paths())
	}
	if table != d.discoveryOf {
		d.currentDiscovery, d.discoveryOf = d.currentDiscovery.With(table), table
	}
	return d.currentDiscovery
}

func (d *documents) openAPI() *openapi.Handler {
	table := d.registry.Table()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.currentOpenAPI == nil {
		d.currentOpenAPI, d.openAPIOf = openapi.New(d.builtIn), d.builtIn
	}
	if table != d.openAPIOf {
		d.currentOpenAPI, d.openAPIOf = d.currentOpenAPI.With(d.registry.Documents()), table
	}
	return d.currentOpenAPI
}

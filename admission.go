package kayak

import (
	"context"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"

	kayakadmission "github.com/kayak-k8s/kayak/internal/admission"
	"github.com/kayak-k8s/kayak/internal/informers"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/loopback"
	"github.com/kayak-k8s/kayak/internal/server"
)

// AdmissionConfig says which admission plugins are in force. The zero value has those that kube-apiserver has by default.
type AdmissionConfig = kayakadmission.Config

// AdmissionPlugins returns the names of all admission plugins, sorted, and of those that are enabled by default, in the order in
// which they are called.
func AdmissionPlugins() (all, defaults []string) {
	return kayakadmission.Sorted(), kayakadmission.Defaults()
}

// govern marks the kinds that admission goes by.
func govern(kinds []*kind.Kind) {
	governing := kayakadmission.Governing()
	for _, k := range kinds {
		if slices.Contains(governing, k.GroupResource()) {
			k.Governs = true
		}
	}
}

// newMetrics makes the server's metrics, with what upstream's parts of admission count.
func newMetrics() *server.Metrics {
	metrics := server.NewMetrics()
	metrics.Others = append(metrics.Others, kayakadmission.ProcessMetrics())
	return metrics
}

// admission puts the chain of admission plugins before the verbs.
func (s *Server) admission(life context.Context, p *parts, metrics *server.Metrics) error {
	config := rest.CopyConfig(loopback.Config(s.http, &user.DefaultInfo{
		Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated},
	}))
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	table := func() *kind.Table { return p.table }
	views := informers.Options{State: s.state, Root: p.root, Life: life, Table: table}
	fresh := views
	fresh.Fresh = true
	informers, freshInformers := informers.New(views), informers.New(fresh)
	chain, err := kayakadmission.New(kayakadmission.Options{
		Config: s.config.Admission, Life: life, Informers: informers, Fresh: freshInformers, Client: client, Dynamic: dynamicClient, Loopback: config,
		Served: p.custom.Table, Mapper: kayakadmission.NewMapper(p.custom.Table), Namespace: p.namespace, Authorizer: p.authorizer,
		Converter: p.converter, ServerID: s.listener.Addr().String(),
		Service: s.webhookServices(life, informers.Core().V1().Services().Lister()),
	})
	if err != nil || chain == nil {
		return err
	}
	metrics.Registry.MustRegister(chain.Collectors()...)
	p.api.Admission, p.api.Unconcerned = admission.WithAudit(chain), chain.Unconcerned
	p.api.Governs = func(k *kind.Kind) bool { return chain.Governs(k.GroupResource()) }
	return nil
}

// webhookServices finds the address of a service that a webhook is at: its cluster IP, or this server itself. An error is not believed
// before the state is as new as the store: the service may have been made, or given another port, a moment ago.
func (s *Server) webhookServices(life context.Context, services corelisters.ServiceLister) func(namespace, name string, port int32) (*url.URL, error) {
	return func(namespace, name string, port int32) (*url.URL, error) {
		if namespace == corev1.NamespaceDefault && name == "kubernetes" && port == 443 {
			return url.Parse(s.URL())
		}
		found, err := proxy.ResolveCluster(services, namespace, name, port)
		if err == nil {
			return found, nil
		}
		ctx, cancel := context.WithTimeout(life, webhookServiceTime)
		defer cancel()
		if _, outdated := s.state.Consistent(ctx); outdated != nil {
			return nil, err
		}
		return proxy.ResolveCluster(services, namespace, name, port)
	}
}

// webhookServiceTime bounds the wait for the state before a webhook's service counts as not found.
const webhookServiceTime = time.Second

// converter returns what merges objects of a kind, which may be a custom one; nil when there are no types of it.
func (p *parts) converter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	for _, r := range p.custom.Table().Version(gvk.Group, gvk.Version) {
		if r.Name != gvk.Kind || r.Custom == nil {
			continue
		}
		types, err := r.Custom.Types()
		if err != nil {
			return nil
		}
		return types
	}
	return p.api.Fields.Converter(gvk)
}

// namespace returns a namespace as it is now.
func (p *parts) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	r := p.resource("", "v1", "namespaces")
	obj, err := p.api.GetObject(ctx, r, "", name)
	if err != nil {
		return nil, err
	}
	converted, err := r.Convert(obj)
	if err != nil {
		return nil, err
	}
	return converted.(*corev1.Namespace), nil
}

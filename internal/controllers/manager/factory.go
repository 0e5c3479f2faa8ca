package manager

import (
	"context"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apiserverinternal"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/lifecycle"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/informers/storagemigration"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// factory is an informers.SharedInformerFactory whose informers read the state.
type factory struct {
	feed  *feed
	root  string
	kinds Kinds

	mu        sync.Mutex
	informers map[schema.GroupVersionKind]*informer
}

var _ informers.SharedInformerFactory = (*factory)(nil)

func newFactory(f *feed, root string, kinds Kinds) *factory {
	return &factory{feed: f, root: root, kinds: kinds, informers: map[schema.GroupVersionKind]*informer{}}
}

// InformerFor implements informers.SharedInformerFactory.
func (f *factory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		panic(err) // a type of client-go that is not in its scheme
	}
	return f.informer(gvks[0])
}

// informer returns the informer of a kind, which has none of this server's objects if the server does not have the kind.
func (f *factory) informer(gvk schema.GroupVersionKind) *informer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.informers[gvk]; i != nil {
		return i
	}
	i := newInformer(f.feed, f.root, f.resource(gvk))
	f.informers[gvk] = i
	return i
}

func (f *factory) resource(gvk schema.GroupVersionKind) *kind.Resource {
	table, _ := f.kinds()
	for _, r := range table.Version(gvk.Group, gvk.Version) {
		if r.Name == gvk.Kind && r.Stored() {
			return r
		}
	}
	return nil
}

// ForResource implements informers.SharedInformerFactory.
func (f *factory) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	i, err := f.find(gvr)
	if err != nil {
		return nil, err
	}
	return genericInformer{i, gvr.GroupResource()}, nil
}

func (f *factory) find(gvr schema.GroupVersionResource) (*informer, error) {
	table, _ := f.kinds()
	r := table.Resource(gvr.Group, gvr.Version, gvr.Resource)
	if r == nil || !r.Stored() {
		return nil, &unknownResource{gvr}
	}
	return f.informer(r.GVK()), nil
}

type unknownResource struct{ gvr schema.GroupVersionResource }

func (e *unknownResource) Error() string { return "no informer found for " + e.gvr.String() } // client-go's words

// genericInformer is an informers.GenericInformer.
type genericInformer struct {
	cache.SharedIndexInformer
	resource schema.GroupResource
}

func (g genericInformer) Informer() cache.SharedIndexInformer { return g.SharedIndexInformer }
func (g genericInformer) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.GetIndexer(), g.resource)
}

// Start implements informers.SharedInformerFactory: the feed starts all.
func (f *factory) Start(<-chan struct{}) {}

// StartWithContext implements informers.SharedInformerFactory, likewise.
func (f *factory) StartWithContext(context.Context) {}

// Shutdown implements informers.SharedInformerFactory, likewise.
func (f *factory) Shutdown() {}

// WaitForCacheSync implements informers.SharedInformerFactory.
func (f *factory) WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool { return nil }

// WaitForCacheSyncWithContext implements informers.SharedInformerFactory.
func (f *factory) WaitForCacheSyncWithContext(context.Context) cache.SyncResult {
	return cache.SyncResult{}
}

// InformerName implements informers.SharedInformerFactory: there are no metrics of these.
func (f *factory) InformerName() *cache.InformerName { return nil }

func (f *factory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, "", nil)
}
func (f *factory) Internal() apiserverinternal.Interface { return apiserverinternal.New(f, "", nil) }
func (f *factory) Apps() apps.Interface                  { return apps.New(f, "", nil) }
func (f *factory) Autoscaling() autoscaling.Interface    { return autoscaling.New(f, "", nil) }
func (f *factory) Batch() batch.Interface                { return batch.New(f, "", nil) }
func (f *factory) Certificates() certificates.Interface  { return certificates.New(f, "", nil) }
func (f *factory) Coordination() coordination.Interface  { return coordination.New(f, "", nil) }
func (f *factory) Core() core.Interface                  { return core.New(f, "", nil) }
func (f *factory) Discovery() discovery.Interface        { return discovery.New(f, "", nil) }
func (f *factory) Events() events.Interface              { return events.New(f, "", nil) }
func (f *factory) Extensions() extensions.Interface      { return extensions.New(f, "", nil) }
func (f *factory) Flowcontrol() flowcontrol.Interface    { return flowcontrol.New(f, "", nil) }
func (f *factory) Lifecycle() lifecycle.Interface        { return lifecycle.New(f, "", nil) }
func (f *factory) Networking() networking.Interface      { return networking.New(f, "", nil) }
func (f *factory) Node() node.Interface                  { return node.New(f, "", nil) }
func (f *factory) Policy() policy.Interface              { return policy.New(f, "", nil) }
func (f *factory) Rbac() rbac.Interface                  { return rbac.New(f, "", nil) }
func (f *factory) Resource() resource.Interface          { return resource.New(f, "", nil) }
func (f *factory) Scheduling() scheduling.Interface      { return scheduling.New(f, "", nil) }
func (f *factory) Storage() storage.Interface            { return storage.New(f, "", nil) }
func (f *factory) Storagemigration() storagemigration.Interface {
	return storagemigration.New(f, "", nil)
}

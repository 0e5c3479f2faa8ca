package informers

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

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
	"github.com/kayak-k8s/kayak/internal/state"
)

// Options say where objects are.
type Options struct {
	State *state.State
	// Root is the prefix of all keys.
	Root string
	// Life ends with the server.
	Life context.Context
	// Fresh lets lists be as new as the store, unless they are empty: for what another server may have changed a moment ago.
	Fresh bool
	// Table returns the kinds there are, served or not.
	Table func() *kind.Table
}

// Factory is an informers.SharedInformerFactory. It is safe for concurrent use.
//
// Ownership: mu guards informers; what is in it is never replaced.
type Factory struct {
	options Options
	// loaded says that the state has once had everything.
	loaded atomic.Bool

	mu        sync.Mutex
	informers map[schema.GroupVersionResource]*Informer
}

var _ informers.SharedInformerFactory = &Factory{}

// New returns a factory. The state need not have been loaded yet: until then HasSynced is false.
func New(o Options) *Factory {
	return &Factory{options: o, informers: map[schema.GroupVersionResource]*Informer{}}
}

// InformerFor returns the informer of a type of client-go's.
func (f *Factory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		panic(err) // a type that client-go makes informers of and does not know
	}
	gvk := gvks[0]
	for _, r := range f.options.Table().Version(gvk.Group, gvk.Version) {
		if r.Name == gvk.Kind {
			return f.Of(r.GVR())
		}
	}
	return f.Of(gvk.GroupVersion().WithResource(gvk.Kind)) // there is none: nothing is in it
}

// ForResource returns the informer of any resource. Objects of types that client-go does not know are unstructured.
func (f *Factory) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	return &generic{f.Of(gvr)}, nil
}

// Of returns the informer of a resource.
func (f *Factory) Of(gvr schema.GroupVersionResource) *Informer {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.informers[gvr]
	if i == nil {
		i = &Informer{factory: f, gvr: gvr}
		f.informers[gvr] = i
	}
	return i
}

type generic struct{ informer *Informer }

func (g *generic) Informer() cache.SharedIndexInformer { return g.informer }
func (g *generic) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.informer, g.informer.gvr.GroupResource())
}

// Refresh tells the handlers of all informers what has changed since the last time.
func (f *Factory) Refresh() {
	f.mu.Lock()
	all := make([]*Informer, 0, len(f.informers))
	for _, i := range f.informers {
		all = append(all, i)
	}
	f.mu.Unlock()
	for _, i := range all {
		i.Refresh()
	}
}

func (f *Factory) hasSynced() bool {
	if f.loaded.Load() {
		return true
	}
	if f.options.State.Synced() {
		f.loaded.Store(true)
		return true
	}
	return false
}

// Start does nothing: there is nothing to start. Nor is there anything to stop.
func (f *Factory) Start(<-chan struct{})            {}
func (f *Factory) StartWithContext(context.Context) {}
func (f *Factory) Shutdown()                        {}

// WaitForCacheSync waits for nothing; who wants to know asks HasSynced.
func (f *Factory) WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool { return nil }

// WaitForCacheSyncWithContext is WaitForCacheSync.
func (f *Factory) WaitForCacheSyncWithContext(context.Context) cache.SyncResult {
	return cache.SyncResult{}
}

// InformerName is for metrics of informers, of which there are none.
func (f *Factory) InformerName() *cache.InformerName { return nil }

// What follows are the informers by group, as client-go generates them.

func (f *Factory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, "", nil)
}
func (f *Factory) Internal() apiserverinternal.Interface { return apiserverinternal.New(f, "", nil) }
func (f *Factory) Apps() apps.Interface                  { return apps.New(f, "", nil) }
func (f *Factory) Autoscaling() autoscaling.Interface    { return autoscaling.New(f, "", nil) }
func (f *Factory) Batch() batch.Interface                { return batch.New(f, "", nil) }
func (f *Factory) Certificates() certificates.Interface  { return certificates.New(f, "", nil) }
func (f *Factory) Coordination() coordination.Interface  { return coordination.New(f, "", nil) }
func (f *Factory) Core() core.Interface                  { return core.New(f, "", nil) }
func (f *Factory) Discovery() discovery.Interface        { return discovery.New(f, "", nil) }
func (f *Factory) Events() events.Interface              { return events.New(f, "", nil) }
func (f *Factory) Extensions() extensions.Interface      { return extensions.New(f, "", nil) }
func (f *Factory) Flowcontrol() flowcontrol.Interface    { return flowcontrol.New(f, "", nil) }
func (f *Factory) Lifecycle() lifecycle.Interface        { return lifecycle.New(f, "", nil) }
func (f *Factory) Networking() networking.Interface      { return networking.New(f, "", nil) }
func (f *Factory) Node() node.Interface                  { return node.New(f, "", nil) }
func (f *Factory) Policy() policy.Interface              { return policy.New(f, "", nil) }
func (f *Factory) Rbac() rbac.Interface                  { return rbac.New(f, "", nil) }
func (f *Factory) Resource() resource.Interface          { return resource.New(f, "", nil) }
func (f *Factory) Scheduling() scheduling.Interface      { return scheduling.New(f, "", nil) }
func (f *Factory) Storage() storage.Interface            { return storage.New(f, "", nil) }
func (f *Factory) Storagemigration() storagemigration.Interface {
	return storagemigration.New(f, "", nil)
}

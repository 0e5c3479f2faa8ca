package informers

import (
	"context"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
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
	Groups
	options Options
	// loaded says that the state has once had everything.
	loaded atomic.Bool

	mu        sync.Mutex
	informers map[schema.GroupVersionResource]*Informer
}

var _ informers.SharedInformerFactory = &Factory{}

// New returns a factory. The state need not have been loaded yet: until then HasSynced is false.
func New(o Options) *Factory {
	f := &Factory{options: o, informers: map[schema.GroupVersionResource]*Informer{}}
	f.OfKind = f.kindInformer
	return f
}

// kindInformer returns the informer of a kind.
func (f *Factory) kindInformer(gvk schema.GroupVersionKind) cache.SharedIndexInformer {
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

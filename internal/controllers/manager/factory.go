package manager

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	views "github.com/kayak-k8s/kayak/internal/informers"
	"github.com/kayak-k8s/kayak/internal/kind"
)

// factory is an informers.SharedInformerFactory whose informers read the state, and hear of its changes from the feed, which starts
// them all.
type factory struct {
	views.Groups
	feed  *feed
	root  string
	kinds Kinds

	mu        sync.Mutex
	informers map[schema.GroupVersionKind]*informer
}

var _ informers.SharedInformerFactory = (*factory)(nil)

func newFactory(f *feed, root string, kinds Kinds) *factory {
	made := &factory{feed: f, root: root, kinds: kinds, informers: map[schema.GroupVersionKind]*informer{}}
	made.OfKind = func(gvk schema.GroupVersionKind) cache.SharedIndexInformer { return made.informer(gvk) }
	return made
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

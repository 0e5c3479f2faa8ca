package manager

import (
	"context"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Garbage collection is upstream's, with its graph of owners and dependents. What is ours is where the graph hears of objects:
// upstream has an informer for each resource there is, some seventy, with a copy of every object's metadata and a node of the
// graph for each. Here a graph is told only of objects that have something to do with it: those that have owners, are being
// deleted, or are the owner of one that it was told of. Whether that is so is read out of the stored bytes.
//
// The graph cannot tell the difference. An object that it has not been told of is one without owners and without finalizers
// to wait for; nothing happens to such an object before another names it as its owner. Then the graph is told of the owner
// first. An owner that is not there when its dependent is seen was deleted before: the graph asks, and finds that out.

// garbage tells the graph of the objects of all kinds.
//
// Ownership: the feed's mu guards everything.
type garbage struct {
	feed     *feed
	root     string
	kinds    Kinds
	monitors map[schema.GroupVersionResource]*monitor
	byKind   map[schema.GroupKind]*monitor
	// told are the objects that the graph knows.
	told    map[types.UID]struct{}
	running bool
}

// monitor tells the graph of the objects of one kind. It is the informer that upstream's graph builder wants, of which that calls
// only the methods below.
type monitor struct {
	cache.SharedIndexInformer // nil
	garbage                   *garbage
	resource                  *kind.Resource
	prefix                    string
	handler                   cache.ResourceEventHandler
	// late is a kind that came when the others were there already: objects of those may have owners of this kind.
	late      bool
	listening bool
}

var _ listener = (*monitor)(nil)

const garbageWorkers = 4

// newGarbageCollector makes the controller.
func newGarbageCollector(ctx context.Context, e *environment) (func(context.Context), error) {
	g := &garbage{
		feed: e.feed, root: e.Root, kinds: e.Kinds, told: map[types.UID]struct{}{},
		monitors: map[schema.GroupVersionResource]*monitor{}, byKind: map[schema.GroupKind]*monitor{},
	}
	config := e.config("generic-garbage-collector")
	client, err := coreClient(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ignored := garbagecollector.DefaultIgnoredResources()
	started := make(chan struct{})
	close(started)
	e.graph = garbagecollector.NewDependencyGraphBuilder(ctx, metadataClient, mapper{e.Kinds}, ignored, g, started)
	collector, err := garbagecollector.NewComposedGarbageCollector(ctx, client, metadataClient, mapper{e.Kinds}, e.graph)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		ready := make(chan struct{})
		found := &discoveryOf{before: g.keepOnly}
		found.changes = changes{kinds: e.Kinds, ctx: ctx, settled: sync.OnceFunc(func() { close(ready) })}
		together(
			func() { collector.Sync(ctx, found, syncPause) },
			func() {
				select {
				case <-ready: // there are monitors; otherwise it would look for them ten times a second
				case <-ctx.Done(): // it has queues to shut down
				}
				collector.Run(ctx, garbageWorkers, time.Second)
			},
		)
	}, nil
}

// syncPause is how long a loop that waits for other kinds pauses in between.
const syncPause = 10 * time.Millisecond

// ForResource implements informerfactory.InformerFactory. The graph is told of nothing before Start.
func (g *garbage) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	table, _ := g.kinds()
	r := table.Resource(gvr.Group, gvr.Version, gvr.Resource)
	if r == nil {
		return nil, &unknownResource{gvr}
	}
	g.feed.mu.Lock()
	defer g.feed.mu.Unlock()
	m := g.monitors[gvr]
	if m == nil {
		m = &monitor{garbage: g, resource: r, prefix: r.KeyPrefix(g.root, ""), late: g.running}
		g.monitors[gvr], g.byKind[r.GVK().GroupKind()] = m, m
	}
	return genericInformer{m, gvr.GroupResource()}, nil
}

// Start implements informerfactory.InformerFactory: the graph is told of all kinds that were asked for.
func (g *garbage) Start(<-chan struct{}) {
	g.feed.mu.Lock()
	pending := map[string]listener{}
	for _, m := range g.monitors {
		if !m.listening {
			m.listening = true
			pending[m.prefix] = m
		}
	}
	g.running = true
	g.feed.mu.Unlock()
	g.feed.listen(pending)
}

// keepOnly forgets the kinds that are gone.
func (g *garbage) keepOnly(found []*kind.Resource) {
	there := map[schema.GroupVersionResource]bool{}
	for _, r := range found {
		there[r.GVR()] = true
	}
	g.feed.mu.Lock()
	var gone []*monitor
	for gvr, m := range g.monitors {
		if !there[gvr] {
			delete(g.monitors, gvr)
			delete(g.byKind, m.resource.GVK().GroupKind())
			gone = append(gone, m)
		}
	}
	g.feed.mu.Unlock()
	for _, m := range gone {
		g.feed.ignore(m.prefix, m)
	}
}

// AddEventHandlerWithResyncPeriod implements cache.SharedIndexInformer.
func (m *monitor) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	m.garbage.feed.mu.Lock()
	defer m.garbage.feed.mu.Unlock()
	m.handler = h
	return nil, nil
}

// GetController implements cache.SharedIndexInformer.
func (m *monitor) GetController() cache.Controller { return m }

// GetStore implements cache.SharedIndexInformer. The graph builder does nothing with it but to hand it to who migrates all objects.
func (m *monitor) GetStore() cache.Store { return everything{monitor: m} }

// LastSyncResourceVersion implements cache.Controller, for everything.
func (m *monitor) LastSyncResourceVersion() string {
	return strconv.FormatInt(m.garbage.feed.state.Snapshot().Revision(), 10)
}

// everything lists the objects of a kind as the state has them, those that the graph is not told of as well. It can do nothing else.
type everything struct {
	cache.Store // nil
	monitor     *monitor
}

// List implements cache.Store.
func (s everything) List() []any {
	var list []any
	s.monitor.garbage.feed.state.Snapshot().Ascend(s.monitor.prefix, "", func(record *state.Record) bool {
		list = append(list, s.monitor.object(record, &ownership{}))
		return true
	})
	return list
}

// HasSynced implements cache.Controller. Nothing has to be waited for: Start tells everything before it returns, and the graph
// looks at nothing before that.
func (m *monitor) HasSynced() bool { return true }

// Run implements cache.Controller: the feed does.
func (m *monitor) Run(<-chan struct{}) {}

// begin implements listener.
func (m *monitor) begin(snapshot *state.Snapshot) {
	snapshot.Ascend(m.prefix, "", func(record *state.Record) bool {
		if now, ok := m.read(record); ok && (m.late || now.matters()) {
			m.tell(record, now)
		}
		return true
	})
}

// keep implements listener: there is nothing to keep.
func (m *monitor) keep(*state.Event) {}

// changed implements listener.
func (m *monitor) changed(e *state.Event) {
	old := e.Previous
	if old != nil && (e.Deleted || uid(old) != uid(e.Record)) {
		m.tellDeleted(old)
		old = nil
	}
	if e.Deleted {
		return
	}
	now, ok := m.read(e.Record)
	if !ok {
		return
	}
	if _, told := m.garbage.told[uid(e.Record)]; !told {
		if now.matters() {
			m.tell(e.Record, now)
		}
		return
	}
	if old == nil { // its dependent was seen before it, with a later snapshot
		return
	}
	if before, ok := m.read(old); ok && !before.Equal(&now.Ownership) {
		m.tellOwners(e.Record, now)
		m.handler.OnUpdate(m.object(old, before), m.object(e.Record, now))
	}
}

// ownership is what garbage collection knows of an object.
type ownership struct{ kind.Ownership }

// matters reports whether the graph must be told of such an object.
func (o *ownership) matters() bool {
	return len(o.Owners) > 0 || o.DeletionTimestamp != nil && len(o.Finalizers) > 0
}

func (m *monitor) read(record *state.Record) (*ownership, bool) {
	o, err := m.resource.Ownership(record.Value())
	if err != nil || uid(record) == "" {
		m.garbage.feed.log.Debug("the garbage collector leaves out an object that it cannot read", "key", record.Key, "error", err)
		return nil, false
	}
	return &ownership{o}, true
}

func uid(record *state.Record) types.UID { return types.UID(record.Header().UID) }

// tell tells the graph of an object, and of its owners first.
func (m *monitor) tell(record *state.Record, o *ownership) {
	if _, told := m.garbage.told[uid(record)]; told {
		return
	}
	m.garbage.told[uid(record)] = struct{}{}
	m.tellOwners(record, o)
	m.handler.OnAdd(m.object(record, o), false)
}

func (m *monitor) tellDeleted(record *state.Record) {
	if _, told := m.garbage.told[uid(record)]; !told {
		return
	}
	delete(m.garbage.told, uid(record))
	o, ok := m.read(record)
	if !ok {
		o = &ownership{}
	}
	m.handler.OnDelete(m.object(record, o))
}

// tellOwners tells the graph of an object's owners, as far as they are there.
func (m *monitor) tellOwners(record *state.Record, o *ownership) {
	namespace, _ := split(m.prefix, record.Key)
	for _, owner := range o.Owners {
		if _, told := m.garbage.told[owner.UID]; told {
			continue
		}
		group, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil {
			continue
		}
		of := m.garbage.byKind[group.WithKind(owner.Kind).GroupKind()]
		if of == nil || of.handler == nil {
			continue
		}
		found := m.garbage.feed.snapshot.Load().Get(of.resource.Key(m.garbage.root, namespace, owner.Name))
		if found == nil || uid(found) != owner.UID {
			continue
		}
		if facts, ok := of.read(found); ok {
			of.tell(found, facts)
		}
	}
}

// object is what the graph sees of an object.
func (m *monitor) object(record *state.Record, o *ownership) *metav1.PartialObjectMetadata {
	namespace, name := split(m.prefix, record.Key)
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: uid(record), ResourceVersion: strconv.FormatInt(record.Revision, 10),
		OwnerReferences: o.Owners, Finalizers: o.Finalizers, DeletionTimestamp: o.DeletionTimestamp,
	}}
	obj.SetGroupVersionKind(m.resource.GVK())
	return obj
}

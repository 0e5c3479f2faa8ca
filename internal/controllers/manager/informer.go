package manager

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// informer is a cache.SharedIndexInformer without a cache: its store is the feed's snapshot, and objects are decoded when
// somebody asks for them or has to be told of them. So an informer costs nothing for objects that nobody looks at.
//
// Resyncs are not done: nothing can have been missed.
//
// Ownership: the feed's mu guards handlers.
type informer struct {
	feed     *feed
	resource *kind.Resource // nil for a kind that this server does not have: then there are no objects
	prefix   string
	index    index

	handlers []*registration
}

var _ cache.SharedIndexInformer = (*informer)(nil)

// newInformer makes an informer that is told of what the feed has.
func newInformer(f *feed, root string, r *kind.Resource) *informer {
	i := &informer{feed: f, resource: r}
	i.index = index{informer: i, indexers: cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}}
	if r != nil {
		i.prefix = r.KeyPrefix(root, "")
		f.listen(map[string]listener{i.prefix: i})
	}
	return i
}

// interest says which objects a handler wants to hear of; the others need not be decoded.
type interest struct {
	// in is asked before a record is decoded; nil is all.
	in func(*state.Record) bool
	// changesOnly leaves out what there is at the beginning.
	changesOnly bool
}

// registration is a handler with what it is interested in.
type registration struct {
	cache.ResourceEventHandler
	interest
	synced chan struct{}
}

// HasSynced implements cache.ResourceEventHandlerRegistration.
func (r *registration) HasSynced() bool { return cache.IsDone(r) }

// HasSyncedChecker implements cache.ResourceEventHandlerRegistration.
func (r *registration) HasSyncedChecker() cache.DoneChecker { return r }

// Name implements cache.DoneChecker.
func (r *registration) Name() string { return "handler" }

// Done implements cache.DoneChecker.
func (r *registration) Done() <-chan struct{} { return r.synced }

func (r *registration) wants(record *state.Record) bool { return r.in == nil || r.in(record) }

// begin implements listener.
func (i *informer) begin(snapshot *state.Snapshot) {
	i.index.fill(snapshot)
	for _, r := range i.handlers {
		i.replay(r, snapshot)
	}
}

// replay tells a handler what there is.
func (i *informer) replay(r *registration, snapshot *state.Snapshot) {
	if i.resource != nil && !r.changesOnly {
		snapshot.Ascend(i.prefix, "", func(record *state.Record) bool {
			if !r.wants(record) {
				return true
			}
			if obj := i.decode(record); obj != nil {
				r.OnAdd(obj, true)
			}
			return true
		})
	}
	close(r.synced)
}

// keep implements listener.
func (i *informer) keep(e *state.Event) { i.index.keep(e) }

// changed implements listener.
func (i *informer) changed(e *state.Event) {
	var obj, old runtime.Object
	for _, r := range i.handlers {
		if !r.wants(e.Record) && (e.Previous == nil || !r.wants(e.Previous)) {
			continue
		}
		if obj == nil {
			if obj = i.decode(e.Record); obj == nil {
				return
			}
			if e.Previous != nil && !e.Deleted {
				old = i.decode(e.Previous)
			}
		}
		switch {
		case e.Deleted:
			r.OnDelete(obj)
		case old == nil:
			r.OnAdd(obj, false)
		default:
			r.OnUpdate(old, obj)
		}
	}
}

// decode returns the object in the informer's version; nil when it cannot be read, which is as if it were not there.
func (i *informer) decode(record *state.Record) runtime.Object {
	obj, err := decode(i.resource, record)
	if err != nil {
		i.feed.log.Warn("a controller cannot read an object", "key", record.Key, "error", err)
		return nil
	}
	return obj
}

// decode returns an object in a version, or its metadata when there is no Go type for it.
func decode(r *kind.Resource, record *state.Record) (runtime.Object, error) {
	obj, err := r.Decode(record.Value(), record.Revision)
	if err != nil {
		return nil, err
	}
	if scheme.Scheme.Recognizes(r.GVK()) {
		return r.Convert(obj) // which may share memory with it: nobody else has it
	}
	partial := meta.AsPartialObjectMetadata(obj.(metav1.Object))
	partial.SetGroupVersionKind(r.GVK())
	return partial, nil
}

// AddEventHandler implements cache.SharedIndexInformer.
func (i *informer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.add(h, interest{}), nil
}

// AddEventHandlerWithResyncPeriod implements cache.SharedIndexInformer.
func (i *informer) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.add(h, interest{}), nil
}

// AddEventHandlerWithOptions implements cache.SharedIndexInformer.
func (i *informer) AddEventHandlerWithOptions(h cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.add(h, interest{}), nil
}

func (i *informer) add(h cache.ResourceEventHandler, in interest) *registration {
	r := &registration{ResourceEventHandler: h, interest: in, synced: make(chan struct{})}
	i.feed.mu.Lock()
	defer i.feed.mu.Unlock()
	i.handlers = append(i.handlers, r)
	if snapshot := i.feed.snapshot.Load(); snapshot != nil {
		i.replay(r, snapshot)
	} else if i.resource == nil {
		close(r.synced) // nothing will begin
	}
	return r
}

// RemoveEventHandler implements cache.SharedIndexInformer.
func (i *informer) RemoveEventHandler(handle cache.ResourceEventHandlerRegistration) error {
	i.feed.mu.Lock()
	defer i.feed.mu.Unlock()
	i.handlers = slices.DeleteFunc(slices.Clone(i.handlers), func(r *registration) bool { return r == handle })
	return nil
}

// GetStore implements cache.SharedIndexInformer.
func (i *informer) GetStore() cache.Store { return &i.index }

// GetIndexer implements cache.SharedIndexInformer.
func (i *informer) GetIndexer() cache.Indexer { return &i.index }

// AddIndexers implements cache.SharedIndexInformer.
func (i *informer) AddIndexers(indexers cache.Indexers) error { return i.index.AddIndexers(indexers) }

// GetController implements cache.SharedIndexInformer.
func (i *informer) GetController() cache.Controller { return i }

// Run implements cache.SharedIndexInformer: there is nothing to run, the feed does.
func (i *informer) Run(<-chan struct{}) {}

// RunWithContext implements cache.SharedIndexInformer, likewise.
func (i *informer) RunWithContext(context.Context) {}

// HasSynced implements cache.SharedIndexInformer.
func (i *informer) HasSynced() bool { return i.feed.snapshot.Load() != nil }

// HasSyncedChecker implements cache.SharedIndexInformer.
func (i *informer) HasSyncedChecker() cache.DoneChecker { return begun{i} }

// begun is done when the feed has begun.
type begun struct{ informer *informer }

func (b begun) Name() string { return fmt.Sprintf("informer for %s", b.informer.prefix) }

// Done implements cache.DoneChecker.
func (b begun) Done() <-chan struct{} { return b.informer.feed.started }

// LastSyncResourceVersion implements cache.SharedIndexInformer.
func (i *informer) LastSyncResourceVersion() string {
	if snapshot := i.feed.snapshot.Load(); snapshot != nil {
		return strconv.FormatInt(snapshot.Revision(), 10)
	}
	return ""
}

// SetWatchErrorHandler implements cache.SharedIndexInformer: there are no such errors.
func (i *informer) SetWatchErrorHandler(cache.WatchErrorHandler) error { return nil }

// SetWatchErrorHandlerWithContext implements cache.SharedIndexInformer, likewise.
func (i *informer) SetWatchErrorHandlerWithContext(cache.WatchErrorHandlerWithContext) error {
	return nil
}

// SetTransform implements cache.SharedIndexInformer. Transforms are there to save memory in caches, and here is none.
func (i *informer) SetTransform(cache.TransformFunc) error { return nil }

// IsStopped implements cache.SharedIndexInformer.
func (i *informer) IsStopped() bool { return false }

package informers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// keep is how many objects of a kind are kept decoded.
const keep = 512

// Informer is a cache.SharedIndexInformer, and its own indexer, over the objects of one kind in one version. What it returns is
// shared and must not be changed, as with any informer.
//
// Ownership: mu guards decoded; handling guards handlers, seen and the calls of handlers. revision is the one of the snapshot that
// handlers have been told of last.
type Informer struct {
	factory *Factory
	gvr     schema.GroupVersionResource

	mu       sync.RWMutex
	decoded  map[string]decoded
	indexers cache.Indexers

	handling sync.Mutex
	handlers []cache.ResourceEventHandler
	seen     []decoded
	handled  atomic.Bool // there are handlers

	prefixes atomic.Pointer[prefix]
	revision atomic.Int64
}

// decoded is an object with the record that it was decoded from.
type decoded struct {
	record *state.Record
	obj    runtime.Object
}

// prefix is the prefix of all keys of a resource.
type prefix struct {
	resource *kind.Resource
	text     string
}

var (
	_ cache.SharedIndexInformer = &Informer{}
	_ cache.Indexer             = &Informer{}
)

// resource is the resource as it is served now; nil when there is none.
func (i *Informer) resource() *kind.Resource {
	r := i.factory.options.Table().Resource(i.gvr.Group, i.gvr.Version, i.gvr.Resource)
	if r == nil || !r.Stored() {
		return nil
	}
	return r
}

// prefix is the prefix of the keys of a resource, in a namespace or in all.
func (i *Informer) prefix(r *kind.Resource, namespace string) string {
	if namespace != "" && r.Namespaced {
		return r.KeyPrefix(i.factory.options.Root, namespace)
	}
	if known := i.prefixes.Load(); known != nil && known.resource == r {
		return known.text
	}
	made := &prefix{r, r.KeyPrefix(i.factory.options.Root, "")}
	i.prefixes.Store(made)
	return made.text
}

// object decodes a record, into the version of the informer.
func (i *Informer) object(r *kind.Resource, record *state.Record) (runtime.Object, error) {
	i.mu.RLock()
	known, ok := i.decoded[record.Key]
	i.mu.RUnlock()
	if ok && known.record == record {
		return known.obj, nil
	}
	obj, err := decode(r, record)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.decoded == nil || len(i.decoded) >= keep {
		i.decoded = map[string]decoded{}
	}
	i.decoded[record.Key] = decoded{record, obj}
	return obj, nil
}

func decode(r *kind.Resource, record *state.Record) (runtime.Object, error) {
	hub, err := r.Decode(record.Value(), record.Revision)
	if err != nil {
		return nil, err
	}
	obj, err := r.Convert(hub)
	if err != nil {
		return nil, err
	}
	if _, ok := obj.(*unstructured.Unstructured); ok || scheme.Scheme.Recognizes(r.GVK()) {
		return obj, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(r.GVK())
	return u, nil
}

// list returns the objects of a namespace, or of all; those that cannot be read are not among them.
func (i *Informer) list(namespace string) []any {
	r := i.resource()
	if r == nil {
		return nil
	}
	prefix := r.KeyPrefix(i.factory.options.Root, namespace)
	var list []any
	i.snapshot(prefix).Ascend(prefix, "", func(record *state.Record) bool {
		if obj, err := i.object(r, record); err == nil {
			list = append(list, obj)
		}
		return true
	})
	return list
}

// freshTime bounds the wait for a state that is as new as the store.
const freshTime = 5 * time.Second

// snapshot returns what lists are made of.
func (i *Informer) snapshot(prefix string) *state.Snapshot {
	options := i.factory.options
	snapshot := options.State.Snapshot()
	if !options.Fresh || empty(snapshot, prefix) {
		return snapshot
	}
	ctx, cancel := context.WithTimeout(options.Life, freshTime)
	defer cancel()
	if fresh, err := options.State.Consistent(ctx); err == nil {
		return fresh
	}
	return snapshot // what is decided by it is written conditionally
}

func empty(snapshot *state.Snapshot, prefix string) bool {
	empty := true
	snapshot.Ascend(prefix, "", func(*state.Record) bool {
		empty = false
		return false
	})
	return empty
}

// Empty reports whether there are no objects in a namespace, or at all.
func (i *Informer) Empty(namespace string) bool {
	r := i.resource()
	if r == nil {
		return true
	}
	return empty(i.factory.options.State.Snapshot(), i.prefix(r, namespace))
}

// GetByKey returns the object of a key: "namespace/name", or a name.
func (i *Informer) GetByKey(key string) (any, bool, error) {
	r := i.resource()
	if r == nil {
		return nil, false, nil
	}
	if r.Namespaced != strings.Contains(key, "/") {
		return nil, false, nil
	}
	record := i.factory.options.State.Snapshot().Get(i.prefix(r, "") + key)
	if record == nil {
		return nil, false, nil
	}
	obj, err := i.object(r, record)
	return obj, err == nil, err
}

// Get returns the object that has the same key.
func (i *Informer) Get(obj any) (any, bool, error) {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return nil, false, err
	}
	return i.GetByKey(key)
}

// List returns all objects.
func (i *Informer) List() []any { return i.list("") }

// ListKeys returns the keys of all objects.
func (i *Informer) ListKeys() []string {
	r := i.resource()
	if r == nil {
		return nil
	}
	var keys []string
	prefix := r.KeyPrefix(i.factory.options.Root, "")
	i.factory.options.State.Snapshot().Ascend(prefix, "", func(record *state.Record) bool {
		keys = append(keys, strings.TrimPrefix(record.Key, prefix))
		return true
	})
	return keys
}

// Index returns the objects that share a value of an index with obj. The index of namespaces is how the keys are ordered; for any
// other all objects are asked.
func (i *Informer) Index(name string, obj any) ([]any, error) {
	if name == cache.NamespaceIndex {
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		return i.list(accessor.GetNamespace()), nil
	}
	index, err := i.index(name)
	if err != nil {
		return nil, err
	}
	values, err := index(obj)
	if err != nil {
		return nil, err
	}
	return i.having(index, values...)
}

// ByIndex returns the objects that have a value of an index.
func (i *Informer) ByIndex(name, value string) ([]any, error) {
	if name == cache.NamespaceIndex {
		return i.list(value), nil
	}
	index, err := i.index(name)
	if err != nil {
		return nil, err
	}
	return i.having(index, value)
}

func (i *Informer) index(name string) (cache.IndexFunc, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if index := i.indexers[name]; index != nil {
		return index, nil
	}
	return nil, fmt.Errorf("Index with name %s does not exist", name) //nolint:staticcheck // client-go's text
}

func (i *Informer) having(index cache.IndexFunc, values ...string) ([]any, error) {
	var found []any
	for _, obj := range i.list("") {
		has, err := index(obj)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(has, func(v string) bool { return slices.Contains(values, v) }) {
			found = append(found, obj)
		}
	}
	return found, nil
}

// IndexKeys returns the keys of ByIndex.
func (i *Informer) IndexKeys(name, value string) ([]string, error) {
	objs, err := i.ByIndex(name, value)
	var keys []string
	for _, obj := range objs {
		key, err := cache.MetaNamespaceKeyFunc(obj)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, err
}

// ListIndexFuncValues returns the values of an index that objects have.
func (i *Informer) ListIndexFuncValues(name string) []string {
	index, err := i.index(name)
	if err != nil {
		return nil
	}
	var values []string
	for _, obj := range i.list("") {
		has, _ := index(obj)
		values = append(values, has...)
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// GetIndexers returns the indexes that were added.
func (i *Informer) GetIndexers() cache.Indexers {
	i.mu.RLock()
	defer i.mu.RUnlock()
	all := cache.Indexers{}
	for name, index := range i.indexers {
		all[name] = index
	}
	return all
}

// AddIndexers adds indexes.
func (i *Informer) AddIndexers(indexers cache.Indexers) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := cache.Indexers{}
	for name, index := range i.indexers {
		all[name] = index
	}
	for name, index := range indexers {
		all[name] = index
	}
	i.indexers = all
	return nil
}

// Refresh tells the handlers what has changed since the last time, until they know of all that the state had when it was called.
func (i *Informer) Refresh() {
	snapshot := i.factory.options.State.Snapshot()
	if !i.handled.Load() || i.revision.Load() >= snapshot.Revision() {
		return
	}
	i.handling.Lock()
	defer i.handling.Unlock()
	if i.revision.Load() >= snapshot.Revision() {
		return
	}
	if !i.unchanged(snapshot) {
		i.tell(i.handlers, i.look(snapshot))
	}
	i.revision.Store(snapshot.Revision())
}

// unchanged reports whether there is what was seen.
func (i *Informer) unchanged(snapshot *state.Snapshot) bool {
	r := i.resource()
	if r == nil {
		return len(i.seen) == 0
	}
	n := 0
	snapshot.Ascend(i.prefix(r, ""), "", func(record *state.Record) bool {
		if n == len(i.seen) || i.seen[n].record != record {
			n = -1
			return false
		}
		n++
		return true
	})
	return n == len(i.seen)
}

// look returns what there is: what was seen before with the object from then.
func (i *Informer) look(snapshot *state.Snapshot) []decoded {
	r := i.resource()
	if r == nil {
		return nil
	}
	known := map[*state.Record]runtime.Object{}
	for _, s := range i.seen {
		known[s.record] = s.obj
	}
	var now []decoded
	snapshot.Ascend(i.prefix(r, ""), "", func(record *state.Record) bool {
		obj, ok := known[record]
		if !ok {
			var err error
			if obj, err = i.object(r, record); err != nil {
				return true
			}
		}
		now = append(now, decoded{record, obj})
		return true
	})
	return now
}

// tell calls handlers for the differences between what was seen and what is; both are in the order of their keys.
func (i *Informer) tell(handlers []cache.ResourceEventHandler, now []decoded) {
	before := i.seen
	i.seen = now
	for len(before) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(before) > 0 && before[0].record.Key < now[0].record.Key:
			for _, h := range handlers {
				h.OnDelete(before[0].obj)
			}
			before = before[1:]
		case len(before) == 0 || now[0].record.Key < before[0].record.Key:
			for _, h := range handlers {
				h.OnAdd(now[0].obj, false)
			}
			now = now[1:]
		default:
			if now[0].record != before[0].record {
				for _, h := range handlers {
					h.OnUpdate(before[0].obj, now[0].obj)
				}
			}
			before, now = before[1:], now[1:]
		}
	}
}

// AddEventHandler adds a handler, which is called by Refresh only, for what is there as well.
func (i *Informer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.handling.Lock()
	defer i.handling.Unlock()
	for _, s := range i.seen {
		handler.OnAdd(s.obj, true)
	}
	i.handlers = append(i.handlers, handler)
	i.handled.Store(true)
	return registration{i}, nil
}

// AddEventHandlerWithResyncPeriod is AddEventHandler.
func (i *Informer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(handler)
}

// AddEventHandlerWithOptions is AddEventHandler.
func (i *Informer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(handler)
}

// RemoveEventHandler cannot be done; nothing that is here for the life of a server needs it.
func (i *Informer) RemoveEventHandler(cache.ResourceEventHandlerRegistration) error {
	return errors.New("handlers of informers in the server's process stay")
}

// registration is what AddEventHandler returns, and says of itself that it has synced when the state has.
type registration struct{ *Informer }

// HasSynced reports whether the state has been loaded.
func (i *Informer) HasSynced() bool { return i.factory.hasSynced() }

// HasSyncedChecker returns HasSynced as a channel.
func (i *Informer) HasSyncedChecker() cache.DoneChecker { return done{i} }

type done struct{ informer *Informer }

func (d done) Name() string { return d.informer.gvr.String() }

func (d done) Done() <-chan struct{} {
	ch := make(chan struct{})
	options := d.informer.factory.options
	go func() {
		if options.State.WaitSynced(options.Life) == nil {
			close(ch)
		}
	}()
	return ch
}

// LastSyncResourceVersion is the revision of the state.
func (i *Informer) LastSyncResourceVersion() string {
	return strconv.FormatInt(i.factory.options.State.Snapshot().Revision(), 10)
}

// LastStoreSyncResourceVersion is LastSyncResourceVersion.
func (i *Informer) LastStoreSyncResourceVersion() string { return i.LastSyncResourceVersion() }

// GetIndexer and GetStore return the informer itself.
func (i *Informer) GetIndexer() cache.Indexer { return i }
func (i *Informer) GetStore() cache.Store     { return i }

// GetController returns nil: there is none.
func (i *Informer) GetController() cache.Controller { return nil }

// Run waits: there is nothing to run.
func (i *Informer) Run(stop <-chan struct{})               { <-stop }
func (i *Informer) RunWithContext(ctx context.Context)     { <-ctx.Done() }
func (i *Informer) IsStopped() bool                        { return false }
func (i *Informer) SetTransform(cache.TransformFunc) error { return nil }

// SetWatchErrorHandler takes a handler that is never called: there is no watch.
func (i *Informer) SetWatchErrorHandler(cache.WatchErrorHandler) error { return nil }

// SetWatchErrorHandlerWithContext is SetWatchErrorHandler.
func (i *Informer) SetWatchErrorHandlerWithContext(cache.WatchErrorHandlerWithContext) error {
	return nil
}

// What follows would change the state, which is not an informer's to change.

var errReadOnly = errors.New("informers in the server's process show the state; they do not change it")

func (i *Informer) Add(any) error               { return errReadOnly }
func (i *Informer) Update(any) error            { return errReadOnly }
func (i *Informer) Delete(any) error            { return errReadOnly }
func (i *Informer) Replace([]any, string) error { return errReadOnly }
func (i *Informer) Resync() error               { return nil }
func (i *Informer) Bookmark(string)             {}

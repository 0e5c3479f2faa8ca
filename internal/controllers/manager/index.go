package manager

import (
	"errors"
	"maps"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak/internal/state"
)

// index is an informer's store. Names and namespaces are looked up in the snapshot, which is sorted by them. Only if a controller
// wants another index (Pods by node, ReplicaSets by their owner), objects are kept decoded, in client-go's own store.
//
// Ownership: mu guards indexers and kept. kept is filled and changed by the feed.
type index struct {
	informer *informer

	mu       sync.RWMutex
	indexers cache.Indexers
	kept     cache.Indexer
}

var _ cache.Indexer = (*index)(nil)

var errReadOnly = errors.New("the store of an informer is not written to")

// AddIndexers implements cache.Indexer.
func (x *index) AddIndexers(indexers cache.Indexers) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	others := maps.Clone(indexers)
	delete(others, cache.NamespaceIndex)
	for name := range others {
		if x.indexers[name] != nil {
			return errors.New("indexer conflict: " + name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	maps.Copy(x.indexers, others)
	if x.kept == nil {
		x.kept = cache.NewIndexer(cache.MetaNamespaceKeyFunc, maps.Clone(x.indexers))
		return nil
	}
	return x.kept.AddIndexers(others)
}

// GetIndexers implements cache.Indexer.
func (x *index) GetIndexers() cache.Indexers {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return maps.Clone(x.indexers)
}

func (x *index) decoded() cache.Indexer {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.kept
}

// fill puts what there is into the store that is kept, if one is.
func (x *index) fill(snapshot *state.Snapshot) {
	kept := x.decoded()
	if kept == nil {
		return
	}
	x.ascend(snapshot, x.informer.prefix, func(_ string, obj runtime.Object) { _ = kept.Add(obj) })
}

// keep keeps it so.
func (x *index) keep(e *state.Event) {
	kept := x.decoded()
	if kept == nil {
		return
	}
	if obj := x.informer.decode(e.Record); obj != nil && e.Deleted {
		_ = kept.Delete(obj)
	} else if obj != nil {
		_ = kept.Update(obj)
	}
}

// ascend decodes what is below a prefix.
func (x *index) ascend(snapshot *state.Snapshot, prefix string, fn func(key string, obj runtime.Object)) {
	if snapshot == nil || x.informer.resource == nil {
		return
	}
	snapshot.Ascend(prefix, "", func(record *state.Record) bool {
		if obj := x.informer.decode(record); obj != nil {
			fn(record.Key[len(x.informer.prefix):], obj)
		}
		return true
	})
}

func (x *index) below(namespace string) []any {
	prefix := x.informer.prefix
	if namespace != "" {
		prefix += namespace + "/"
	}
	var list []any
	x.ascend(x.informer.feed.snapshot.Load(), prefix, func(_ string, obj runtime.Object) { list = append(list, obj) })
	return list
}

// List implements cache.Store.
func (x *index) List() []any {
	if kept := x.decoded(); kept != nil {
		return kept.List()
	}
	return x.below("")
}

// ListKeys implements cache.Store.
func (x *index) ListKeys() []string { return x.keysBelow("") }

func (x *index) keysBelow(namespace string) []string {
	snapshot := x.informer.feed.snapshot.Load()
	if snapshot == nil || x.informer.resource == nil {
		return nil
	}
	prefix := x.informer.prefix
	if namespace != "" {
		prefix += namespace + "/"
	}
	var keys []string
	snapshot.Ascend(prefix, "", func(record *state.Record) bool {
		keys = append(keys, record.Key[len(x.informer.prefix):])
		return true
	})
	return keys
}

// Get implements cache.Store.
func (x *index) Get(obj any) (any, bool, error) {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return nil, false, cache.KeyError{Obj: obj, Err: err}
	}
	return x.GetByKey(key)
}

// GetByKey implements cache.Store.
func (x *index) GetByKey(key string) (any, bool, error) {
	if kept := x.decoded(); kept != nil {
		return kept.GetByKey(key)
	}
	snapshot := x.informer.feed.snapshot.Load()
	if snapshot == nil || x.informer.resource == nil {
		return nil, false, nil
	}
	record := snapshot.Get(x.informer.prefix + key)
	if record == nil {
		return nil, false, nil
	}
	obj := x.informer.decode(record)
	return obj, obj != nil, nil
}

// Index implements cache.Indexer.
func (x *index) Index(name string, obj any) ([]any, error) {
	if name == cache.NamespaceIndex {
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		return x.ByIndex(name, accessor.GetNamespace())
	}
	kept, err := x.mustKeep(name)
	if err != nil {
		return nil, err
	}
	return kept.Index(name, obj)
}

// ByIndex implements cache.Indexer.
func (x *index) ByIndex(name, value string) ([]any, error) {
	kept, err := x.mustKeep(name)
	switch {
	case kept != nil:
		return kept.ByIndex(name, value)
	case name == cache.NamespaceIndex:
		return x.below(value), nil
	}
	return nil, err
}

// IndexKeys implements cache.Indexer.
func (x *index) IndexKeys(name, value string) ([]string, error) {
	kept, err := x.mustKeep(name)
	switch {
	case kept != nil:
		return kept.IndexKeys(name, value)
	case name == cache.NamespaceIndex:
		return x.keysBelow(value), nil
	}
	return nil, err
}

// ListIndexFuncValues implements cache.Indexer.
func (x *index) ListIndexFuncValues(name string) []string {
	if kept := x.decoded(); kept != nil {
		return kept.ListIndexFuncValues(name)
	}
	var values []string
	for _, key := range x.keysBelow("") {
		namespace, _, _ := cache.SplitMetaNamespaceKey(key)
		if n := len(values); n == 0 || values[n-1] != namespace {
			values = append(values, namespace)
		}
	}
	return values
}

func (x *index) mustKeep(name string) (cache.Indexer, error) {
	if kept := x.decoded(); kept != nil {
		return kept, nil
	}
	return nil, errors.New("Index with name " + strconv.Quote(name) + " does not exist") //nolint:staticcheck // client-go's words
}

// LastStoreSyncResourceVersion implements cache.Store.
func (x *index) LastStoreSyncResourceVersion() string { return x.informer.LastSyncResourceVersion() }

// Bookmark implements cache.Store: the snapshot has its revision.
func (x *index) Bookmark(string) {}

// Add implements cache.Store.
func (x *index) Add(any) error { return errReadOnly }

// Update implements cache.Store.
func (x *index) Update(any) error { return errReadOnly }

// Delete implements cache.Store.
func (x *index) Delete(any) error { return errReadOnly }

// Replace implements cache.Store.
func (x *index) Replace([]any, string) error { return errReadOnly }

// Resync implements cache.Store.
func (x *index) Resync() error { return nil }

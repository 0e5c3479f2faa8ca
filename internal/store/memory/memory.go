// Package memory is a store that lives in memory and is gone when the process ends. It serves tests: it starts in no time
// and a write costs about a microsecond.
//
// It keeps what etcd keeps: every version of every key since the last compaction, so that Range can read old revisions and
// Watch can start at one. Every change has a revision of its own (etcd may change several keys at one), so the history is
// a slice in which a revision's place is known, and a watch is an index into it.
//
// History is bounded: when it holds more than 100,000 changes or 128 MiB, the older half is compacted away, as if somebody
// had called Compact. A watch that is that far behind ends with store.ErrCompacted. What the keys hold now is not bounded.
package memory

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/kayak-k8s/kayak/internal/store"
)

const (
	// maxRequestBytes is the largest key with value, as in etcd (embed.DefaultMaxRequestBytes).
	maxRequestBytes = 1.5 * 1024 * 1024

	maxHistoryEvents = 100_000
	maxHistoryBytes  = 128 << 20
	// eventOverhead is about what a change costs beside its key and value.
	eventOverhead = 128

	// maxBatchEvents bounds how much a watch copies out under the lock.
	maxBatchEvents = 1024
)

// Store implements store.Store. Its zero value is not ready for use, see New.
type Store struct {
	mu   sync.RWMutex
	keys *btree.BTreeG[entry]
	// log holds the change of every revision in (compacted-1, revision], or (1, revision] before any compaction.
	log       []store.Event
	logBytes  int
	revision  int64
	compacted int64
	watchers  map[*watcher]struct{}
	expiries  expiryHeap
	timer     *time.Timer
	closed    bool
	// done is closed by Close.
	done chan struct{}
}

var _ store.Store = (*Store)(nil)

// entry is an item in the tree. The key is here, too, so that looking one up needs no allocation.
type entry struct {
	key string
	*item
}

// item is a key with its versions, oldest first. The oldest may be older than the compacted revision, the others are not.
type item struct {
	key      string
	versions []version
	expiry   *expiry
}

// version is what a change left behind; value is nil when it removed the key.
type version struct {
	value    []byte
	revision int64
}

// New returns an empty store, at revision 1 as an empty etcd is.
func New() *Store {
	return &Store{
		keys:     btree.NewG(32, func(a, b entry) bool { return a.key < b.key }),
		revision: 1,
		watchers: map[*watcher]struct{}{},
		done:     make(chan struct{}),
	}
}

// From returns a store that holds what another one held at a revision, each key at the revision of its last change. It has no
// history: changes can be watched from the next revision on.
func From(kvs []store.KV, revision int64) *Store {
	s := New()
	s.revision, s.compacted = max(revision, 1), max(revision, 1)
	for _, kv := range kvs {
		s.keys.ReplaceOrInsert(entry{key: kv.Key, item: &item{key: kv.Key, versions: []version{{kv.Value, kv.Revision}}}})
	}
	return s
}

var errClosed = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)

// check returns the error of an operation that must not begin.
func (s *Store) check(ctx context.Context) error {
	if s.closed {
		return errClosed
	}
	return ctx.Err()
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision, s.check(ctx)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.check(ctx); err != nil {
		return store.KV{}, err
	}
	kv, ok := s.current(key)
	if !ok {
		return store.KV{}, store.ErrNotFound
	}
	return kv, nil
}

func (s *Store) current(key string) (store.KV, bool) {
	it, ok := s.keys.Get(entry{key: key})
	if !ok {
		return store.KV{}, false
	}
	return it.at(s.revision)
}

// at returns what the key held at a revision.
func (it *item) at(rev int64) (store.KV, bool) {
	for i := len(it.versions) - 1; i >= 0; i-- {
		v := it.versions[i]
		if v.revision > rev {
			continue
		}
		return store.KV{Key: it.key, Value: v.value, Revision: v.revision}, v.value != nil
	}
	return store.KV{}, false
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, opts store.RangeOptions) (store.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.check(ctx); err != nil {
		return store.Page{}, err
	}
	page := store.Page{Revision: opts.Revision, KVs: []store.KV{}}
	switch {
	case opts.Revision <= 0:
		page.Revision = s.revision
	case opts.Revision > s.revision:
		return store.Page{}, store.ErrFutureRevision
	case opts.Revision < s.compacted:
		return store.Page{}, store.ErrCompacted
	}
	s.keys.AscendGreaterOrEqual(entry{key: max(opts.Prefix, opts.From)}, func(it entry) bool {
		if !strings.HasPrefix(it.key, opts.Prefix) {
			return false
		}
		kv, ok := it.at(page.Revision)
		if !ok {
			return true
		}
		if opts.Limit > 0 && int64(len(page.KVs)) == opts.Limit {
			page.More = true
			return false
		}
		page.KVs = append(page.KVs, kv)
		return true
	})
	return page, nil
}

// Put implements store.Store. It keeps value itself, not a copy.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (int64, error) {
	if len(key)+len(value) > maxRequestBytes {
		return 0, store.ErrTooLarge
	}
	if value == nil {
		value = []byte{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	if err := s.expected(key, expect); err != nil {
		return 0, err
	}
	it := s.commit(key, value)
	if opts.TTLSeconds > 0 {
		s.expireAt(it, time.Now().Add(time.Duration(opts.TTLSeconds)*time.Second))
	}
	return s.revision, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	if err := s.expected(key, expect); err != nil {
		return 0, err
	}
	if expect <= 0 { // neither the key nor the condition exists
		return 0, &store.Conflict{Key: key, Expect: expect}
	}
	s.commit(key, nil)
	return s.revision, nil
}

func (s *Store) expected(key string, expect int64) error {
	kv, exists := s.current(key)
	switch {
	case exists && kv.Revision != expect:
		return &store.Conflict{Key: key, Expect: expect, Current: &kv}
	case !exists && expect != 0:
		return &store.Conflict{Key: key, Expect: expect}
	}
	return nil
}

// commit makes a change, which deletes the key if value is nil, at the next revision.
func (s *Store) commit(key string, value []byte) *item {
	s.revision++
	it, ok := s.keys.Get(entry{key: key})
	if !ok {
		it = entry{key: key, item: &item{key: key}}
		s.keys.ReplaceOrInsert(it)
	}
	s.forgetExpiry(it.item)
	it.versions = append(it.versions, version{value: value, revision: s.revision})
	s.log = append(s.log, store.Event{Key: key, Value: value, Revision: s.revision})
	s.logBytes += eventBytes(key, value)
	for w := range s.watchers {
		w.wake()
	}
	if len(s.log) > maxHistoryEvents || s.logBytes > maxHistoryBytes {
		s.compact(s.log[len(s.log)/2].Revision)
	}
	return it.item
}

func eventBytes(key string, value []byte) int { return eventOverhead + len(key) + len(value) }

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, rev int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx); err != nil {
		return err
	}
	if rev > s.revision {
		return store.ErrFutureRevision
	}
	s.compact(rev)
	return nil
}

// compact drops the changes before rev from the log, and from the keys the versions that only revisions before rev show.
// It costs as much as what it drops.
func (s *Store) compact(rev int64) {
	if rev <= s.compacted {
		return
	}
	s.compacted = rev
	n, _ := slices.BinarySearchFunc(s.log, rev, func(e store.Event, rev int64) int { return int(e.Revision - rev) })
	// The change at rev itself stays in the log but may make older versions of its key superfluous.
	for _, e := range s.log[:min(n+1, len(s.log))] {
		s.trim(e.Key)
	}
	for _, e := range s.log[:n] {
		s.logBytes -= eventBytes(e.Key, e.Value)
	}
	s.log = slices.Clone(s.log[n:]) // a copy, so that the old array goes, and watchers may still read from it
}

// trim drops the versions of a key that no revision from s.compacted on shows.
func (s *Store) trim(key string) {
	it, ok := s.keys.Get(entry{key: key})
	if !ok {
		return
	}
	n := 0
	for n+1 < len(it.versions) && it.versions[n+1].revision <= s.compacted {
		n++
	}
	if v := it.versions[n]; v.value == nil && v.revision <= s.compacted {
		n++ // deleted: no version shows the same
	}
	if n == len(it.versions) {
		s.keys.Delete(it)
		return
	}
	if n > 0 {
		it.versions = slices.Clone(it.versions[n:])
	}
}

// Status implements store.Store.
func (s *Store) Status(ctx context.Context) (store.Status, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return store.Status{}, s.check(ctx)
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	if s.timer != nil {
		s.timer.Stop()
	}
	return nil
}

// watcher is the alarm clock of one Watch.
type watcher struct{ changed chan struct{} }

func (w *watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, from int64, deliver func(store.Batch) error) error {
	w := &watcher{changed: make(chan struct{}, 1)}
	s.mu.Lock()
	if newest := s.revision; from > newest+1 {
		s.mu.Unlock()
		return store.ErrFutureRevision
	}
	s.watchers[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}()

	for next := max(from, 1); ; {
		changes, err := s.changes(ctx, next)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			select {
			case <-w.changed:
			case <-ctx.Done():
			case <-s.done:
			}
			continue
		}
		batch := store.Batch{Revision: changes[len(changes)-1].Revision}
		for _, e := range changes {
			if strings.HasPrefix(e.Key, prefix) {
				batch.Events = append(batch.Events, e)
			}
		}
		if err := deliver(batch); err != nil {
			return err
		}
		next = batch.Revision + 1
	}
}

// changes returns some changes from revision next on, none if there are none yet. They are part of the log, of which a
// place once written is never written again.
func (s *Store) changes(ctx context.Context, next int64) ([]store.Event, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if next < s.compacted {
		return nil, store.ErrCompacted
	}
	if next > s.revision || len(s.log) == 0 {
		return nil, nil
	}
	i := max(next-s.log[0].Revision, 0)
	return s.log[i:min(int(i)+maxBatchEvents, len(s.log))], nil
}

// expiry is the time at which a key disappears.
type expiry struct {
	at    time.Time
	item  *item
	index int
}

// expireAt lets a key disappear at a time. The timer is the only thing that waits: there is no goroutine until it fires.
func (s *Store) expireAt(it *item, at time.Time) {
	it.expiry = &expiry{at: at, item: it}
	heap.Push(&s.expiries, it.expiry)
	s.setTimer()
}

func (s *Store) forgetExpiry(it *item) {
	if it.expiry != nil {
		heap.Remove(&s.expiries, it.expiry.index)
		it.expiry = nil
	}
}

// setTimer makes the timer fire when the first key expires. A timer that fires too early, after the first key was written
// again, does no harm.
func (s *Store) setTimer() {
	if len(s.expiries) == 0 || s.closed {
		return
	}
	wait := time.Until(s.expiries[0].at)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.expire)
		return
	}
	s.timer.Reset(wait)
}

// expire deletes the keys whose time has come.
func (s *Store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for now := time.Now(); len(s.expiries) > 0 && !s.expiries[0].at.After(now); {
		s.commit(s.expiries[0].item.key, nil)
	}
	s.setTimer()
}

// expiryHeap has the earliest expiry first; each knows its place, so that it can be removed.
type expiryHeap []*expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*expiry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

package state

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kayak-k8s/kayak/internal/store"
)

// fakeStore is a store.Store in memory that keeps its whole history and fails on demand.
type fakeStore struct {
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change of anything below
	revision  int64
	compacted int64
	events    []store.Event
	down      error // what everything fails with
	broken    int   // raised to end the watches that stand
	paused    bool  // watches deliver nothing

	questions atomic.Int64
	onAsk     func() // called within Revision, before the revision is read
	onRange   func(store.RangeOptions)
	maxPage   int // the most bytes of values that a page may have; 0 means any number
}

func newFakeStore() *fakeStore { return &fakeStore{revision: 1, changed: make(chan struct{})} }

var errBroken = errors.New("fake: watch was broken")

func (f *fakeStore) do(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.changed)
	f.changed = make(chan struct{})
}

// put writes one key; nil deletes it.
func (f *fakeStore) put(key string, value []byte) (revision int64) {
	return f.txn(store.Event{Key: key, Value: value})
}

// txn changes several keys at one revision.
func (f *fakeStore) txn(events ...store.Event) (revision int64) {
	f.do(func() {
		f.revision++
		revision = f.revision
		for _, e := range events {
			e.Revision = revision
			f.events = append(f.events, e)
		}
	})
	return revision
}

func (f *fakeStore) setDown(err error) { f.do(func() { f.down = err; f.broken++ }) }
func (f *fakeStore) breakWatches()     { f.do(func() { f.broken++ }) }
func (f *fakeStore) pause(p bool)      { f.do(func() { f.paused = p }) }
func (f *fakeStore) compactAll()       { f.do(func() { f.compacted = f.revision }) }

// lead returns how many revisions the store has after one.
func (f *fakeStore) lead(revision int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision - revision
}

// contents returns what the keys under prefix hold at a revision, in order of the keys. mu is held.
func (f *fakeStore) contents(prefix string, revision int64) []store.KV {
	latest := map[string]store.Event{}
	for _, e := range f.events {
		if e.Revision <= revision && strings.HasPrefix(e.Key, prefix) {
			latest[e.Key] = e
		}
	}
	var kvs []store.KV
	for _, e := range latest {
		if !e.Deleted() {
			kvs = append(kvs, store.KV(e))
		}
	}
	slices.SortFunc(kvs, func(a, b store.KV) int { return strings.Compare(a.Key, b.Key) })
	return kvs
}

func (f *fakeStore) at(prefix string, revision int64) []store.KV {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.contents(prefix, revision)
}

func (f *fakeStore) Revision(ctx context.Context) (int64, error) {
	f.questions.Add(1)
	if f.onAsk != nil {
		f.onAsk()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision, errors.Join(f.down, ctx.Err())
}

func (f *fakeStore) Range(ctx context.Context, o store.RangeOptions) (store.Page, error) {
	if f.onRange != nil {
		f.onRange(o)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return store.Page{}, f.down
	}
	page := store.Page{Revision: o.Revision}
	switch {
	case o.Revision == 0:
		page.Revision = f.revision
	case o.Revision < f.compacted:
		return store.Page{}, store.ErrCompacted
	}
	size := 0
	for _, kv := range f.contents(o.Prefix, page.Revision) {
		if kv.Key < o.From {
			continue
		}
		if o.Limit > 0 && int64(len(page.KVs)) == o.Limit {
			page.More = true
			break
		}
		kv.Value = bytes.Clone(kv.Value)
		page.KVs = append(page.KVs, kv)
		if size += len(kv.Value); f.maxPage > 0 && size > f.maxPage {
			return store.Page{}, store.ErrTooLarge
		}
	}
	return page, nil
}

func (f *fakeStore) Watch(ctx context.Context, prefix string, from int64, deliver func(store.Batch) error) error {
	f.mu.Lock()
	if f.down != nil {
		defer f.mu.Unlock()
		return f.down
	}
	if from < f.compacted {
		defer f.mu.Unlock()
		return store.ErrCompacted
	}
	broken, done := f.broken, from-1
	f.mu.Unlock()
	for {
		f.mu.Lock()
		batch := store.Batch{Revision: f.revision}
		for _, e := range f.events {
			if e.Revision > done && strings.HasPrefix(e.Key, prefix) {
				batch.Events = append(batch.Events, e)
			}
		}
		isBroken, paused, changed := f.broken != broken, f.paused, f.changed
		f.mu.Unlock()
		switch {
		case isBroken:
			return errBroken
		case !paused && batch.Revision > done:
			if err := deliver(batch); err != nil {
				return err
			}
			done = batch.Revision
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeStore) Get(context.Context, string) (store.KV, error) {
	return store.KV{}, store.ErrNotFound
}

func (f *fakeStore) Put(context.Context, string, []byte, int64, store.PutOptions) (int64, error) {
	return 0, store.ErrUnavailable
}
func (f *fakeStore) Delete(context.Context, string, int64) (int64, error) {
	return 0, store.ErrUnavailable
}
func (f *fakeStore) Compact(context.Context, int64) error         { return nil }
func (f *fakeStore) Status(context.Context) (store.Status, error) { return store.Status{}, nil }
func (f *fakeStore) Close() error                                 { return nil }

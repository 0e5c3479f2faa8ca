package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
)

var errEnough = errors.New("enough")

// recorder checks what a watch promises of every batch, and keeps the events.
type recorder struct {
	prefix   string
	from     int64
	revision int64
	events   []store.Event
	batches  int
}

func newRecorder(prefix string, from int64) *recorder {
	return &recorder{prefix: prefix, from: from, revision: from - 1}
}

func (r *recorder) add(b store.Batch) error {
	r.batches++
	if b.Revision <= r.revision {
		return fmt.Errorf("a batch up to revision %d came after one up to %d", b.Revision, r.revision)
	}
	last := r.revision
	for _, e := range b.Events {
		if e.Revision <= r.revision || e.Revision > b.Revision || e.Revision < last {
			return fmt.Errorf("an event of revision %d after %d, in a batch from %d to %d", e.Revision, last, r.revision+1, b.Revision)
		}
		last = e.Revision
	}
	r.revision = b.Revision
	r.events = append(r.events, b.Events...)
	return nil
}

// watch records a watch until it has come to revision until.
func watch(t *testing.T, s store.Store, prefix string, from, until int64) *recorder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	r := newRecorder(prefix, from)
	err := s.Watch(ctx, prefix, from, func(b store.Batch) error {
		if err := r.add(b); err != nil {
			return err
		}
		if r.revision >= until {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Watch(%q) from %d to %d came to %d: %v", prefix, from, until, r.revision, err)
	}
	return r
}

// collect returns the events under prefix with revisions in [from, until].
func collect(t *testing.T, s store.Store, prefix string, from, until int64) []store.Event {
	t.Helper()
	events := watch(t, s, prefix, from, until).events
	return slices.DeleteFunc(events, func(e store.Event) bool { return e.Revision > until })
}

// churn makes changes from several goroutines, under the prefixes /w/ and /other/, and returns them by revision.
func churn(t *testing.T, s store.Store, writers, changes int) []store.Event {
	t.Helper()
	var mu sync.Mutex
	var all []store.Event
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			revs := map[string]int64{}
			for i := range changes {
				key := fmt.Sprintf("/w/%d-%d", w, i%5)
				if i%7 == 0 {
					key = fmt.Sprintf("/other/%d", w)
				}
				e := store.Event{Key: key}
				var err error
				if revs[key] != 0 && i%3 == 0 {
					e.Revision, err = s.Delete(t.Context(), key, revs[key])
					revs[key] = 0
				} else {
					e.Value = fmt.Appendf(nil, "%d-%d", w, i)
					e.Revision, err = s.Put(t.Context(), key, e.Value, revs[key], store.PutOptions{})
					revs[key] = e.Revision
				}
				if err != nil {
					t.Errorf("change %d of %s: %v", i, key, err)
					return
				}
				mu.Lock()
				all = append(all, e)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b store.Event) int { return int(a.Revision - b.Revision) })
	return all
}

func under(events []store.Event, prefix string) []store.Event {
	var out []store.Event
	for _, e := range events {
		if len(e.Key) >= len(prefix) && e.Key[:len(prefix)] == prefix {
			out = append(out, e)
		}
	}
	return out
}

func testWatchComplete(t *testing.T, s store.Store) {
	const writers, changes = 8, 60
	from := revision(t, s) + 1
	until := from - 1 + writers*changes
	live := make(chan *recorder, 3)
	for range cap(live) {
		go func() { live <- watch(t, s, "/w/", from, until) }()
	}
	all := churn(t, s, writers, changes)
	if t.Failed() {
		return
	}
	for i, e := range all {
		if e.Revision != from+int64(i) {
			t.Fatalf("change %d has revision %d, want %d", i, e.Revision, from+int64(i))
		}
	}
	for range cap(live) {
		wantDiff(t, "live watch", under(all, "/w/"), (<-live).events)
	}
	wantDiff(t, "late watch", under(all, "/w/"), collect(t, s, "/w/", from, until))
}

func testWatchResumes(t *testing.T, s store.Store) {
	from := revision(t, s) + 1
	all := churn(t, s, 2, 25)
	until := all[len(all)-1].Revision
	for start := from; start <= until; start += 3 {
		want := slices.DeleteFunc(under(all, "/w/"), func(e store.Event) bool { return e.Revision < start })
		got := collect(t, s, "/w/", start, until)
		if len(want)+len(got) > 0 {
			wantDiff(t, fmt.Sprintf("from %d", start), want, got)
		}
	}
}

// testWatchProgress follows revisions that change nothing under the prefix.
func testWatchProgress(t *testing.T, s store.Store) {
	from := revision(t, s) + 1
	seen := make(chan int64, 64)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, "/w/", from, func(b store.Batch) error {
			if len(b.Events) > 0 {
				return fmt.Errorf("unexpected events %v", b.Events)
			}
			seen <- b.Revision
			return nil
		})
	}()
	var rev int64
	for range 20 {
		rev = put(t, s, "/other", "v", rev)
		for got := int64(0); got < rev; {
			select {
			case got = <-seen:
			case err := <-ended:
				t.Fatalf("Watch: %v", err)
			case <-time.After(timeout):
				t.Fatalf("the watch does not come to revision %d", rev)
			}
		}
	}
	cancel()
	wantError(t, "Watch", <-ended, context.Canceled)
}

// testWatchSlow lets a watch stand still while more changes happen than anything between store and watch can buffer.
func testWatchSlow(t *testing.T, s store.Store) {
	const changes = 3000
	from := revision(t, s) + 1
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	stuck, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	r := newRecorder("/w/", from)
	go func() {
		ended <- s.Watch(ctx, "/w/", from, func(b store.Batch) error {
			if r.batches == 0 {
				close(stuck)
				<-release
			}
			if err := r.add(b); err != nil {
				return err
			}
			if r.revision >= from-1+changes {
				return errEnough
			}
			return nil
		})
	}()
	put(t, s, "/w/first", "v", 0)
	<-stuck
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			var rev int64
			for i := w; i < changes-1; i += 32 {
				rev = put(t, s, fmt.Sprintf("/w/%d", w), fmt.Sprint(i), rev)
			}
		})
	}
	wg.Wait()
	close(release)
	if err := <-ended; !errors.Is(err, errEnough) {
		t.Fatalf("Watch came to %d of %d: %v", r.revision, from-1+changes, err)
	}
	if len(r.events) != changes {
		t.Fatalf("%d events, want %d", len(r.events), changes)
	}
	for i, e := range r.events {
		if e.Revision != from+int64(i) {
			t.Fatalf("event %d has revision %d, want %d", i, e.Revision, from+int64(i))
		}
	}
}

// testWatchAtCompaction starts watches at the very revision that was compacted, of a change and of a removal.
func testWatchAtCompaction(t *testing.T, s store.Store) {
	a := put(t, s, "/w/a", "1", 0)
	b := put(t, s, "/w/b", "1", 0)
	gone := remove(t, s, "/w/a", a)
	b2 := put(t, s, "/w/b", "2", b)
	last := put(t, s, "/w/c", "1", 0)
	events := []store.Event{
		{Key: "/w/a", Revision: gone},
		{Key: "/w/b", Value: []byte("2"), Revision: b2},
		{Key: "/w/c", Value: []byte("1"), Revision: last},
	}
	for i, e := range events {
		compactTo(t, s, e.Revision)
		wantDiff(t, fmt.Sprintf("watch from %d", e.Revision), events[i:], collect(t, s, "/w/", e.Revision, last))
	}
	wantDiff(t, "range", []store.KV{
		{Key: "/w/b", Value: []byte("2"), Revision: b2}, {Key: "/w/c", Value: []byte("1"), Revision: last},
	}, fullRange(t, s, "/w/", 0).KVs)
}

func testWatchContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	put(t, s, "/w/a", "v", 0)
	ended := make(chan error, 1)
	ready := make(chan struct{}, 1)
	go func() {
		ended <- s.Watch(ctx, "/w/", 1, func(store.Batch) error { ready <- struct{}{}; return nil })
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Watch: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		wantError(t, "Watch", err, context.Canceled)
	case <-time.After(timeout):
		t.Fatal("the watch goes on after its context ended")
	}
	// The store goes on.
	put(t, s, "/w/b", "v", 0)
}

func testWatchDeliverError(t *testing.T, s store.Store) {
	put(t, s, "/w/a", "v", 0)
	calls := 0
	err := s.Watch(t.Context(), "/w/", 1, func(store.Batch) error { calls++; return errEnough })
	if !errors.Is(err, errEnough) || calls != 1 {
		t.Errorf("Watch: %v after %d calls", err, calls)
	}
}

func testOneRevisionOneBatch(t *testing.T, s store.Store, opts Options) {
	first := put(t, s, "/w/old", "v", 0)
	changes := map[string][]byte{"/w/old": nil, "/other": []byte("v"), "/other/deep": []byte("v")}
	for i := range 60 {
		changes[fmt.Sprintf("/w/%02d", i)] = fmt.Appendf(nil, "%d", i)
	}
	check := func(what string, r *recorder, rev int64) {
		t.Helper()
		got := map[string][]byte{}
		for _, e := range r.events {
			if e.Revision != rev {
				t.Errorf("%s: event of %s at revision %d, want %d", what, e.Key, e.Revision, rev)
			}
			if _, twice := got[e.Key]; twice {
				t.Errorf("%s: %s comes twice", what, e.Key)
			}
			got[e.Key] = e.Value
		}
		want := map[string][]byte{}
		for k, v := range changes {
			if k[:3] == "/w/" {
				want[k] = v
			}
		}
		wantDiff(t, what, want, got)
	}
	// recorder.add refuses a revision that goes on in a second batch.
	live := make(chan *recorder, 1)
	go func() { live <- watch(t, s, "/w/", first+1, first+1) }()
	rev := opts.Txn(t, s, changes)
	if rev != first+1 {
		t.Fatalf("the transaction is at revision %d, want %d", rev, first+1)
	}
	check("live", <-live, rev)
	put(t, s, "/other2", "v", 0)
	r := watch(t, s, "/w/", rev, rev+1)
	check("late", r, rev)
}

package compact_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/compact"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

const interval = 5 * time.Minute

// recorder notes the compactions of a store.
type recorder struct {
	store.Store
	mu        sync.Mutex
	compacted []int64
	putError  error
}

func (r *recorder) Compact(ctx context.Context, rev int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.compacted = append(r.compacted, rev)
	return r.Store.Compact(ctx, rev)
}

func (r *recorder) Put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.putError != nil {
		return 0, r.putError
	}
	return r.Store.Put(ctx, key, value, expect, opts)
}

func (r *recorder) Revision(ctx context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Revision(ctx)
}

func (r *recorder) replace(s store.Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Store = s
}

func (r *recorder) failPuts(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putError = err
}

func (r *recorder) take() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.compacted = nil }()
	return r.compacted
}

// server runs a compactor; stop ends it.
func server(t *testing.T, s store.Store) (r *recorder, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	r = &recorder{Store: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := compact.Run(ctx, r, interval, slog.New(slog.DiscardHandler))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	return r, func() { cancel(); <-done }
}

// pass lets an interval pass, and returns the newest revision at its end before the compactors' own writes.
func pass(t *testing.T, s store.Store) int64 {
	t.Helper()
	time.Sleep(interval / 2)
	for range 10 {
		change(t, s)
	}
	rev, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(interval / 2)
	synctest.Wait()
	return rev
}

func change(t *testing.T, s store.Store) {
	t.Helper()
	var conflict *store.Conflict
	_, err := s.Put(t.Context(), "/a", []byte("v"), 0, store.PutOptions{})
	if errors.As(err, &conflict) {
		_, err = s.Put(t.Context(), "/a", []byte("v"), conflict.Current.Revision, store.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// key returns the value of compact_rev_key.
func key(t *testing.T, s store.Store) int64 {
	t.Helper()
	kv, err := s.Get(t.Context(), compact.RevisionKey)
	if err != nil {
		t.Fatal(err)
	}
	rev, err := strconv.ParseInt(string(kv.Value), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestCompactsToTheRevisionOneIntervalAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		r, stop := server(t, s)
		defer stop()
		before := pass(t, s)
		if got := r.take(); got != nil {
			t.Errorf("the first turn compacted to %v", got)
		}
		for range 3 {
			now := pass(t, s)
			if got := r.take(); len(got) != 1 || got[0] != before || key(t, s) != before {
				t.Errorf("compacted to %v, the key says %d; want %d", got, key(t, s), before)
			}
			before = now
		}
	})
}

// Two servers take turns or one does it all; a revision is compacted when it is at least one interval old, and in each
// interval once. When the one that compacts stops, the other takes over.
func TestServersShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		a, stopA := server(t, s)
		time.Sleep(interval / 4)
		b, stopB := server(t, s)
		defer stopB()
		newest := []int64{0, 0}
		for i := range 8 {
			newest = append(newest, pass(t, s))
			got := append(a.take(), b.take()...)
			if i < 2 {
				continue
			}
			if len(got) != 1 || got[0] > newest[len(newest)-2] || got[0] < newest[len(newest)-3] {
				t.Errorf("interval %d: compacted to %v with newest revisions %v", i, got, newest)
			}
		}
		stopA()
		pass(t, s)
		total := 0
		for range 3 {
			pass(t, s)
			total += len(b.take())
		}
		if total < 2 {
			t.Errorf("the other server compacted %d times after the first stopped", total)
		}
	})
}

// A kube-apiserver that writes the key in each interval keeps this server from compacting.
func TestLeavesTheWorkToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		r, stop := server(t, s)
		defer stop()
		time.Sleep(interval / 4)
		var rev int64
		for range 4 {
			next, err := s.Put(t.Context(), compact.RevisionKey, []byte("1"), rev, store.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			rev = next
			time.Sleep(interval)
			synctest.Wait()
		}
		if got := r.take(); got != nil {
			t.Errorf("compacted to %v", got)
		}
	})
}

// A store without space cannot take the key, but compaction is what it needs.
func TestCompactsAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		r, stop := server(t, s)
		defer stop()
		r.failPuts(store.ErrNoSpace)
		before := pass(t, s)
		pass(t, s)
		if got := r.take(); len(got) != 1 || got[0] != before {
			t.Errorf("compacted to %v, want %d", got, before)
		}
	})
}

func TestFailuresAreMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		r, stop := server(t, s)
		defer stop()
		before := pass(t, s)
		r.failPuts(store.ErrUnavailable)
		pass(t, s)
		if got := r.take(); got != nil {
			t.Errorf("compacted to %v without a claim", got)
		}
		r.failPuts(nil)
		pass(t, s)
		if got := r.take(); len(got) != 1 || got[0] != before {
			t.Errorf("compacted to %v, want %d", got, before)
		}
	})
}

// After etcd was restored from a backup, its revisions are lower than what a server remembers.
func TestGoesOnAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := memory.New()
		defer old.Close()
		r, stop := server(t, old)
		defer stop()
		pass(t, old)
		pass(t, old)
		restored := memory.New()
		defer restored.Close()
		r.take()
		r.replace(restored)
		want := pass(t, restored)
		pass(t, restored)
		if got := r.take(); len(got) != 1 || got[0] != want {
			t.Errorf("compacted to %v, want %d", got, want)
		}
	})
}

func TestIntervalZeroIsOff(t *testing.T) {
	for _, interval := range []time.Duration{0, -1} {
		if err := compact.Run(context.Background(), nil, interval, nil); err != nil {
			t.Errorf("Run with interval %v: %v", interval, err)
		}
	}
}

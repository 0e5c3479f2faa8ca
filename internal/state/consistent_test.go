package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kayak-k8s/kayak/internal/store"
)

// TestConsistentReadsShareQuestions: while one question is under way, all who come share the next one.
func TestConsistentReadsShareQuestions(t *testing.T) {
	t.Parallel()
	asked, proceed := make(chan struct{}), make(chan struct{})
	var revision atomic.Int64
	var questions atomic.Int64
	q := questionsOf(func(ctx context.Context) (int64, error) {
		questions.Add(1)
		r := revision.Load()
		asked <- struct{}{}
		<-proceed
		return r, nil
	})
	var all sync.WaitGroup
	ask := func(atLeast int64) {
		joined := q.join()
		all.Go(func() {
			<-joined.done
			if joined.err != nil || joined.revision < atLeast {
				t.Errorf("got %d, %v, want at least %d", joined.revision, joined.err, atLeast)
			}
		})
	}
	ask(0)
	<-asked // the first question has read its answer: those who come now need another
	revision.Store(7)
	for range 100 {
		ask(7)
	}
	proceed <- struct{}{}
	<-asked
	proceed <- struct{}{}
	all.Wait()
	if questions.Load() != 2 {
		t.Errorf("%d questions for 101 callers, want 2", questions.Load())
	}
}

func questionsOf(ask func(context.Context) (int64, error)) *questions { return &questions{ask: ask} }

func TestConsistentCallerMayLeave(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	q := questionsOf(func(ctx context.Context) (int64, error) { <-proceed; return 1, nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := q.answer(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	close(proceed)
	if r, err := q.answer(context.Background()); r != 1 || err != nil {
		t.Errorf("after another left: %d, %v", r, err)
	}
}

// TestConsistentReadsSeeAcknowledgedWrites: through broken watches and resyncs, a read shows every write that was
// acknowledged before it, and no reader goes back in time.
func TestConsistentReadsSeeAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	s := synced(t, start(t, f))
	ctx := within(t)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			key := fmt.Sprintf("/registry/pods/ns/p%d", g)
			last := int64(0)
			for i := range 150 {
				revision := f.put(key, fmt.Appendf(nil, "n %d", i))
				snapshot, err := s.Consistent(ctx)
				if err != nil {
					t.Errorf("Consistent: %v", err)
					return
				}
				r := snapshot.Get(key)
				if snapshot.Revision() < revision || snapshot.Revision() < last || r == nil || r.Revision != revision {
					t.Errorf("read %v at %d after a write at %d and a read at %d", r, snapshot.Revision(), revision, last)
					return
				}
				last = snapshot.Revision()
			}
		})
	}
	stop, loads := make(chan struct{}), 0
	f.onRange = func(o store.RangeOptions) { loads++ } // Run's goroutine
	var disturber sync.WaitGroup
	disturber.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-s.waiters.add(s.Snapshot().Revision() + int64(1+rand.IntN(20))):
			}
			f.pause(true)
			for f.lead(s.Snapshot().Revision()) < int64(rand.IntN(4)) && !isClosed(stop) {
				runtime.Gosched()
			}
			f.do(func() {
				f.broken++
				f.paused = false
				f.compacted = f.revision
			})
		}
	})
	all.Wait()
	close(stop)
	disturber.Wait()
	synced(t, s)
	if loads == 0 {
		t.Error("nothing was compacted away, the test tested less than it should")
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestManyCursorsAtOnce: many readers of all kinds, each of which must see exactly its part of the history, while it is made.
func TestManyCursorsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	s := synced(t, start(t, f))
	begin := s.Snapshot().Revision()
	const writes = 1500
	ctx := within(t)
	var all sync.WaitGroup
	for g := range 60 {
		filter := []Filter{
			{Prefix: pods.Prefix},
			{Prefix: pods.Prefix + "ns1/"},
			{Prefix: pod(g), Exact: true},
			{Prefix: pods.Prefix, Field: "spec.nodeName", Value: fmt.Sprintf("node%d", g%7)},
			{Prefix: pods.Prefix + "ns2/", Field: "spec.nodeName", Value: "node3"},
			{Prefix: configs.Prefix, Field: "spec.nodeName", Value: "node3"},
		}[g%6]
		all.Go(func() { readAllOf(ctx, t, f, s, filter, begin, begin+writes, g%5 == 0) })
	}
	all.Go(func() {
		for i := range writes {
			key := pod(rand.IntN(60))
			if i%4 == 0 {
				key = fmt.Sprintf("/registry/configmaps/ns/c%d", rand.IntN(5))
			}
			value := fmt.Appendf(nil, "node%d %d", rand.IntN(7), i)
			if rand.IntN(5) == 0 {
				value = nil
			}
			f.put(key, value)
			if i%400 == 0 {
				f.breakWatches()
			}
		}
	})
	all.Wait()
	for _, family := range *s.families.Load() {
		for _, topics := range append(family.byField, family.byKey, family.byPrefix) {
			if len(topics) != 0 {
				t.Errorf("topics are left: %v", topics)
			}
		}
	}
}

// readAllOf reads (begin, end] through one cursor, or through many one after the other, and compares with the store.
func readAllOf(ctx context.Context, t *testing.T, f *fakeStore, s *State, filter Filter, begin, end int64, reopen bool) {
	var got []fact
	after := begin
	c, err := s.Watch(filter, after)
	for ; err == nil && after < end; after = c.seen {
		if reopen {
			c.Close()
			if c, err = s.Watch(filter, after); err != nil {
				break
			}
		}
		var events []*Event
		events, _, err = c.TryNext()
		for _, e := range events {
			got = append(got, factOf(t, e))
			_, _ = e.Record.Encoding("id", func() ([]byte, error) { return e.Record.Value(), nil })
		}
		if len(events) == 0 && err == nil && c.seen < end {
			select {
			case <-c.Wait():
			case <-s.waiters.add(s.Snapshot().Revision() + 1): // as a bookmark's timer would
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if err != nil {
		t.Errorf("%+v after %d: %v", filter, after, err)
		return
	}
	c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	contents := map[string]string{}
	var want []fact
	for _, e := range f.events {
		x := fact{e.Revision, e.Key, string(e.Value), contents[e.Key]}
		contents[e.Key] = x.value
		if (x.value != "" || x.before != "") && x.revision > begin && x.revision <= end && x.matches(filter) {
			want = append(want, x)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v: got %d events, want %d: %v, %v", filter, len(got), len(want), got, want)
	}
}

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/kayak-k8s/kayak/internal/authz/follow"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

var prefixes = []string{"/registry/a/", "/registry/b/"}

// copied is what a follower knows: a copy of the state.
type copied struct {
	mu     sync.Mutex
	values map[string]string
	resets int
}

func (c *copied) follower(s *state.State) *follow.Follower {
	return follow.New(follow.Options{
		State: s, Prefixes: prefixes, Logger: slog.New(slog.DiscardHandler),
		Reset: func(snapshot *state.Snapshot) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.values = contents(snapshot)
			c.resets++
		},
		Apply: func(event *state.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if event.Deleted {
				delete(c.values, event.Record.Key)
			} else {
				c.values[event.Record.Key] = string(event.Record.Value())
			}
		},
	})
}

func (c *copied) is(want map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Equal(c.values, want)
}

func contents(snapshot *state.Snapshot) map[string]string {
	values := map[string]string{}
	for _, prefix := range prefixes {
		snapshot.Ascend(prefix, "", func(record *state.Record) bool {
			values[record.Key] = string(record.Value())
			return true
		})
	}
	return values
}

// running is a state that follows a store.
func running(t *testing.T, historyBytes int64) (*state.State, store.Store) {
	t.Helper()
	backend := memory.New()
	header := func(string, []byte) (state.Header, error) { return state.Header{}, nil }
	s := state.New(state.Options{
		Store: backend, Prefix: "/registry/", HistoryBytes: historyBytes,
		Families: []state.Family{{Prefix: prefixes[0], Header: header}, {Prefix: prefixes[1], Header: header}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
		_ = backend.Close()
	})
	if err := s.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, backend
}

// write makes a random change, and waits until the state has it.
func write(t *testing.T, s *state.State, backend store.Store, random *rand.Rand) {
	t.Helper()
	key := fmt.Sprint(prefixes[random.IntN(2)], random.IntN(20))
	var revision int64
	if record := s.Snapshot().Get(key); record != nil {
		revision = record.Revision
	}
	var err error
	if revision != 0 && random.IntN(3) == 0 {
		revision, err = backend.Delete(t.Context(), key, revision)
	} else {
		revision, err = backend.Put(t.Context(), key, fmt.Append(nil, random.Int()), revision, store.PutOptions{})
	}
	if err == nil {
		_, err = s.AtLeast(t.Context(), revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCatchUp looks now and then, with a history that is long enough and with one that is not: then the follower begins anew.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		history int64
		lost    bool
	}{{1 << 20, false}, {1, true}} {
		s, backend := running(t, test.history)
		c := &copied{}
		f := c.follower(s)
		random := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			write(t, s, backend, random)
			if random.IntN(5) > 0 {
				continue
			}
			f.CatchUp()
			if want := contents(s.Snapshot()); !c.is(want) {
				t.Fatalf("knows %v, want %v", c.values, want)
			}
			if f.CatchUp() {
				t.Fatal("there was something new although nothing was written")
			}
		}
		if lost := c.resets > 1; lost != test.lost {
			t.Errorf("with a history of %d bytes it has begun anew %d times", test.history, c.resets-1)
		}
	}
}

// TestEach is told of every change while others catch up, too, and ends with its context.
func TestEach(t *testing.T) {
	t.Parallel()
	s, backend := running(t, 1<<20)
	c := &copied{}
	f := c.follower(s)
	ctx, cancel := context.WithCancelCause(t.Context())
	reached := errors.New("reached")
	const last = "/registry/b/last"
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Each(ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if _, ok := c.values[last]; ok {
				cancel(reached)
			}
		})
	}()
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		write(t, s, backend, random)
		if random.IntN(2) == 0 {
			f.CatchUp()
		}
	}
	if _, err := backend.Put(t.Context(), last, []byte("x"), 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	<-done
	if !errors.Is(context.Cause(ctx), reached) {
		t.Fatal(context.Cause(ctx))
	}
}

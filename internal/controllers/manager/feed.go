package manager

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kayak-k8s/kayak/internal/state"
)

// feed carries the changes of the state to those who asked for them, from one goroutine, and holds the snapshot that their listers
// read: as with an informer's store, it has a change before handlers hear of it, and nothing that they have not been told of.
//
// Ownership: mu guards listeners and everything that listeners have; it is held while they are told, so they must be quick, and
// must not add listeners. snapshot is written with mu held and read without.
type feed struct {
	state *state.State
	log   *slog.Logger

	snapshot atomic.Pointer[state.Snapshot] // nil until started
	started  chan struct{}

	mu        sync.Mutex
	listeners map[string][]listener // by the prefix of their keys
}

// listener hears of all changes below a prefix.
type listener interface {
	// keep is told of a change before the feed's snapshot has it.
	keep(e *state.Event)
	// changed is told of it afterwards.
	changed(e *state.Event)
	// begin is called once, when the snapshot is there.
	begin(snapshot *state.Snapshot)
}

func newFeed(s *state.State, log *slog.Logger) *feed {
	return &feed{state: s, log: log, started: make(chan struct{}), listeners: map[string][]listener{}}
}

// listen adds listeners, by the prefix of their keys, all at the same snapshot.
func (f *feed) listen(listeners map[string]listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for prefix, l := range listeners {
		f.listeners[prefix] = append(f.listeners[prefix], l)
	}
	snapshot := f.snapshot.Load()
	if snapshot == nil {
		return
	}
	for _, l := range listeners {
		l.begin(snapshot)
	}
}

// ignore removes the listeners of a prefix, for a kind that is gone.
func (f *feed) ignore(prefix string, gone listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left []listener
	for _, l := range f.listeners[prefix] {
		if l != gone {
			left = append(left, l)
		}
	}
	f.listeners[prefix] = left
}

// start tells the listeners what there is, and returns what must run to tell them of changes.
func (f *feed) start() (run func(context.Context)) {
	snapshot, tail := f.state.Tail()
	f.mu.Lock()
	f.snapshot.Store(snapshot)
	for _, list := range f.listeners {
		for _, l := range list {
			l.begin(snapshot)
		}
	}
	f.mu.Unlock()
	close(f.started)
	return func(ctx context.Context) { f.run(ctx, tail) }
}

func (f *feed) run(ctx context.Context, tail *state.Tail) {
	for {
		events, snapshot, err := tail.Next(ctx)
		switch {
		case errors.Is(err, state.ErrExpired):
			f.log.Info("the controllers have missed changes; comparing instead")
			before := f.snapshot.Load()
			snapshot, tail = f.state.Tail()
			events = difference(before, snapshot)
		case err != nil:
			return
		}
		f.tell(events, snapshot)
	}
}

func (f *feed) tell(events []*state.Event, snapshot *state.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.each(events, listener.keep)
	f.snapshot.Store(snapshot)
	f.each(events, listener.changed)
}

// each calls fn with the listeners of each event. f.mu is held.
func (f *feed) each(events []*state.Event, fn func(listener, *state.Event)) {
	for _, e := range events {
		key := e.Record.Key
		for i := 1; i < len(key); i++ {
			if key[i] != '/' {
				continue
			}
			for _, l := range f.listeners[key[:i+1]] {
				fn(l, e)
			}
		}
	}
}

// difference returns the changes that lead from one snapshot to another, as far as they can still be told.
func difference(before, after *state.Snapshot) []*state.Event {
	var events []*state.Event
	before.Ascend("", "", func(old *state.Record) bool {
		switch now := after.Get(old.Key); {
		case now == nil:
			events = append(events, &state.Event{Revision: after.Revision(), Record: old, Previous: old, Deleted: true})
		case now.Revision != old.Revision:
			events = append(events, &state.Event{Revision: now.Revision, Record: now, Previous: old})
		}
		return true
	})
	after.Ascend("", "", func(now *state.Record) bool {
		if before.Get(now.Key) == nil {
			events = append(events, &state.Event{Revision: now.Revision, Record: now})
		}
		return true
	})
	return events
}

// split takes the key of an object below a prefix apart.
func split(prefix, key string) (namespace, name string) {
	key = key[len(prefix):]
	if i := strings.IndexByte(key, '/'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}

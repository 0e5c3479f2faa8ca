// Package follow keeps something that is worked out of a few kinds of objects true to the state.
//
// A [Follower] has a cursor in the log of each kind. [Follower.CatchUp] gives everything that the state has applied to the
// follower's owner, at once and in the caller's goroutine: after a write, say, that must be obeyed as soon as it is acknowledged,
// or before a no that may be out of date. [Follower.Run] does it whenever something changes.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/kayak-k8s/kayak/internal/state"
)

// Options say what is followed. All are required. Reset and Apply are never called at the same time.
type Options struct {
	State *state.State
	// Prefixes are the kinds' prefixes of keys.
	Prefixes []string
	// Reset begins anew with what a snapshot has: at first, and when changes may have been missed.
	Reset func(*state.Snapshot)
	// Apply takes one change. Changes of one kind come in their order.
	Apply  func(*state.Event)
	Logger *slog.Logger
}

// Follower follows the state.
//
// Ownership: mu guards cursors, and is held while Reset and Apply are called.
type Follower struct {
	options Options

	mu      sync.Mutex
	cursors []*state.Cursor // none before the first Reset, or when a place was lost
}

// New returns a follower that has not looked at anything yet.
func New(o Options) *Follower { return &Follower{options: o} }

// CatchUp applies what the state has applied by now. It reports whether there was anything.
func (f *Follower) CatchUp() (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cursors == nil {
		return f.reset()
	}
	for _, cursor := range f.cursors {
		for {
			events, _, err := cursor.TryNext()
			if err != nil {
				f.close()
				return f.reset()
			}
			if len(events) == 0 {
				break
			}
			changed = true
			for _, event := range events {
				f.options.Apply(event)
			}
		}
	}
	return changed
}

// reset begins anew. While the state is loaded, the history may begin after the snapshot by the time that there are cursors: then
// it is tried again, by the next call at the latest.
func (f *Follower) reset() bool {
	for range resetAttempts {
		snapshot := f.options.State.Snapshot()
		err := f.watch(snapshot.Revision())
		if err == nil {
			f.options.Reset(snapshot)
			return true
		}
		f.close()
		if !errors.Is(err, state.ErrExpired) {
			f.options.Logger.Error("cannot follow the state", "prefixes", f.options.Prefixes, "error", err)
			return false
		}
	}
	return false
}

const resetAttempts = 10

func (f *Follower) watch(after int64) error {
	for _, prefix := range f.options.Prefixes {
		cursor, err := f.options.State.Watch(state.Filter{Prefix: prefix}, after)
		if err != nil {
			return err
		}
		f.cursors = append(f.cursors, cursor)
	}
	return nil
}

func (f *Follower) close() {
	for _, cursor := range f.cursors {
		cursor.Close()
	}
	f.cursors = nil
}

// retryPause is how long Run waits when the state cannot be followed.
const retryPause = 100 * time.Millisecond

// Run catches up whenever something changes, until ctx ends.
func (f *Follower) Run(ctx context.Context) { f.Each(ctx, func() {}) }

// Each is Run with something to do at first and after each change, in its goroutine. It must be called once at most, and not
// together with Run.
func (f *Follower) Each(ctx context.Context, do func()) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.close()
	}()
	for {
		f.CatchUp()
		do()
		if !f.wait(ctx) {
			return
		}
	}
}

// wait waits until there is something new; it returns false when ctx has ended.
func (f *Follower) wait(ctx context.Context) bool {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
	f.mu.Lock()
	for _, cursor := range f.cursors {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(cursor.Wait())})
	}
	f.mu.Unlock()
	if len(cases) == 1 {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(time.After(retryPause))})
	}
	chosen, _, _ := reflect.Select(cases)
	return chosen != 0
}

package state

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
)

// Consistent returns a snapshot that shows every write acknowledged before the call. It asks the store for its revision, one
// question for all who call while the question before is under way, and waits until the state has come that far, through
// lost watches and new loads. It returns the store's error when the store does not answer, and when the state does not get
// there before ctx ends the reason why it does not follow the store, or else a *FutureError.
func (s *State) Consistent(ctx context.Context) (*Snapshot, error) {
	revision, err := s.questions.answer(ctx)
	if err != nil {
		return nil, fmt.Errorf("state: consistent read: %w", err)
	}
	snapshot, err := s.AtLeast(ctx, revision)
	if err != nil {
		if lost := s.synced.reason(); lost != nil {
			return nil, fmt.Errorf("state: consistent read: %w", lost)
		}
	}
	return snapshot, err
}

// AtLeast waits for a revision and returns the newest snapshot then. When ctx ends before, it returns a *FutureError.
func (s *State) AtLeast(ctx context.Context, revision int64) (*Snapshot, error) {
	for {
		if snapshot := s.Snapshot(); snapshot.revision >= revision {
			return snapshot, nil
		}
		reached := s.waiters.add(revision)
		snapshot := s.Snapshot()
		if snapshot.revision >= revision {
			s.waiters.remove(reached)
			return snapshot, nil
		}
		select {
		case <-reached:
		case <-ctx.Done():
			s.waiters.remove(reached)
			return nil, &FutureError{Asked: revision, Current: s.Snapshot().revision}
		}
	}
}

// waiters are those who wait for revisions.
//
// Ownership: mu guards waiting. count is its length, for looking without the lock.
// Invariant: who waits adds itself before it looks at the published revision for the last time; who publishes looks at count
// afterwards. So one of the two notices the other.
type waiters struct {
	count   atomic.Int64
	mu      sync.Mutex
	waiting []waiter
}

type waiter struct {
	revision int64
	reached  chan struct{}
}

func (w *waiters) add(revision int64) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	reached := make(chan struct{})
	w.waiting = append(w.waiting, waiter{revision, reached})
	w.count.Store(int64(len(w.waiting)))
	return reached
}

func (w *waiters) remove(reached chan struct{}) {
	w.drop(func(x waiter) bool { return x.reached == reached })
}

func (w *waiters) reached(revision int64) {
	if w.count.Load() == 0 {
		return
	}
	w.drop(func(x waiter) bool {
		if x.revision <= revision {
			close(x.reached)
			return true
		}
		return false
	})
}

func (w *waiters) drop(which func(waiter) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = slices.DeleteFunc(w.waiting, which)
	w.count.Store(int64(len(w.waiting)))
}

// questionTimeout bounds one question to the store: it belongs to many callers, so none of their contexts ends it.
const questionTimeout = 10 * time.Second

// errStopped is the answer once Run has returned.
var errStopped = fmt.Errorf("%w: the state has stopped", store.ErrUnavailable)

// questions asks the store for its revision on behalf of many callers.
//
// Ownership: mu guards the fields below it. One goroutine asks, while there is something to ask.
// Invariant: a caller gets the answer of a question that was asked after the caller came: next has not been asked yet.
type questions struct {
	ask func(context.Context) (int64, error)

	mu      sync.Mutex
	asking  bool
	next    *question
	stopped bool
	cancel  context.CancelFunc // ends the question that is being asked
}

// question is one question; revision and err are set before done is closed.
type question struct {
	done     chan struct{}
	revision int64
	err      error
}

// answer returns a revision that the store had at some time after the call.
func (q *questions) answer(ctx context.Context) (int64, error) {
	question := q.join()
	select {
	case <-question.done:
		return question.revision, question.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (q *questions) join() *question {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.next = &question{done: make(chan struct{})}
	}
	if !q.asking {
		q.asking = true
		go q.askAll()
	}
	return q.next
}

func (q *questions) askAll() {
	for {
		question, ctx, cancel := q.take()
		if question == nil {
			return
		}
		question.revision, question.err = q.ask(ctx)
		if question.err != nil && q.hasStopped() {
			question.err = errStopped
		}
		cancel()
		close(question.done)
	}
}

// take takes the question that is to be asked next; nil when there is none.
func (q *questions) take() (*question, context.Context, context.CancelFunc) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.asking = false
		return nil, nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), questionTimeout)
	if q.stopped {
		cancel()
	}
	question := q.next
	q.next, q.cancel = nil, cancel
	return question, ctx, cancel
}

// stop ends the question that is being asked and lets all later ones fail.
func (q *questions) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	if q.cancel != nil {
		q.cancel()
	}
}

func (q *questions) hasStopped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopped
}

// gate is a condition that callers can look at and wait for.
//
// Ownership: mu guards writing, and lost; changed is sent after is was set.
type gate struct {
	is      atomic.Bool
	changed broadcast
	mu      sync.Mutex
	lost    error
}

func (g *gate) open() bool { return g.is.Load() }

// set opens or shuts the gate; err says why it is shut.
func (g *gate) set(open bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = err
	g.is.Store(open)
	g.changed.send()
}

// reason returns why the gate is shut, nil when it is open or never was.
func (g *gate) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

func (g *gate) wait(ctx context.Context) error {
	for {
		changed := g.changed.wait()
		if g.open() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
)

// How long Run waits before it tries again, from the first failure in a row to the last.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// errRolledBack says that the store is at an older revision than what was read from it: it was restored from a backup, or it
// is another one.
var errRolledBack = errors.New("state: the store went back to an older revision")

// Run loads the state and then follows the store until ctx ends; it returns the context's error. When the store is away it
// tries again, and again. It must be called once.
func (s *State) Run(ctx context.Context) error {
	if s.running.Swap(true) {
		return errors.New("state: Run was called twice")
	}
	defer s.questions.stop()
	defer s.packer.stop()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		progress, err := s.round(ctx)
		s.synced.set(false, err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if progress {
			pause = firstPause
		}
		s.log.Warn("lost the store, trying again", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round loads if need be and follows the store until something fails. It reports whether anything was achieved.
func (s *State) round(ctx context.Context) (progress bool, err error) {
	if !s.loaded() {
		if err := s.load(ctx); err != nil {
			return false, fmt.Errorf("state: load: %w", err)
		}
		progress = true
	}
	caughtUp, err := s.follow(ctx)
	if mustLoad(err) {
		s.mu.Lock()
		s.writing.loaded = false
		s.mu.Unlock()
	}
	return progress || caughtUp, err
}

func (s *State) loaded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing.loaded
}

// mustLoad reports whether err means that changes may have been missed.
func mustLoad(err error) bool {
	return errors.Is(err, store.ErrCompacted) || errors.Is(err, store.ErrFutureRevision) || errors.Is(err, errRolledBack)
}

// follow applies the store's changes until the watch ends. It reports whether the state caught up with the store.
func (s *State) follow(ctx context.Context) (caughtUp bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	applied := s.Snapshot().revision
	confirmed := make(chan bool, 1)
	go func() { confirmed <- s.confirm(ctx, applied, cancel) }()
	err = s.options.Store.Watch(ctx, s.options.Prefix, applied+1, func(b store.Batch) error {
		s.apply(b)
		return nil
	})
	if cause := context.Cause(ctx); errors.Is(cause, errRolledBack) {
		err = cause
	}
	cancel(nil)
	return <-confirmed, err
}

// confirm finds out when the watch stands. A watch of a store that nobody writes to says nothing, so the store is asked for
// its revision once, after the watch was begun: when the state has come that far it is as new as the store was then.
func (s *State) confirm(ctx context.Context, applied int64, cancel context.CancelCauseFunc) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		revision, err := s.options.Store.Revision(ctx)
		switch {
		case err == nil && revision < applied:
			cancel(fmt.Errorf("%w: %d after %d", errRolledBack, revision, applied))
			return false
		case err == nil:
			if _, err := s.AtLeast(ctx, revision); err != nil {
				return false
			}
			s.synced.set(true, nil)
			s.log.Info("following the store", "revision", revision)
			return true
		}
		s.synced.set(false, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}

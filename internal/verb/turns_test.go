package verb

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsComeOneAfterAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all Turns
		var now, most, served atomic.Int32
		var writers sync.WaitGroup
		for range 50 {
			writers.Go(func() {
				mine := all.take(t.Context(), "key")
				defer mine.end()
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(turnLength / 2)
				now.Add(-1)
				served.Add(1)
			})
		}
		other := all.take(t.Context(), "other") // nobody else wants this one
		other.end()
		writers.Wait()
		if most.Load() != 1 || served.Load() != 50 {
			t.Errorf("%d had their turn, %d at a time", served.Load(), most.Load())
		}
		if len(all.keys) != 0 {
			t.Errorf("%d keys are remembered", len(all.keys))
		}
	})
}

// Who keeps a turn for too long loses it, and ends it later without harm.
func TestTurnPassesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all Turns
		slow := all.take(t.Context(), "key")
		start := time.Now()
		next := all.take(t.Context(), "key")
		if waited := time.Since(start); waited != turnLength {
			t.Errorf("the next turn came after %v", waited)
		}
		slow.end()
		ctx, cancel := context.WithTimeout(t.Context(), turnLength/2)
		defer cancel()
		if third := all.take(ctx, "key"); third != nil {
			t.Error("a turn that had passed on was ended for somebody else")
		}
		next.end()
		if len(all.keys) != 0 {
			t.Errorf("%d keys are remembered", len(all.keys))
		}
	})
}

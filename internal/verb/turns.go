package verb

import (
	"context"
	"sync"
	"time"
)

// turnLength is how long a turn lasts at most.
const turnLength = time.Second

// Turns brings those who write to the same object into an order, once they have got in each other's way. Without it, of n
// writers one wins and n-1 have worked in vain, again and again.
//
// A turn is a courtesy, not a lock: nobody takes one before it has lost a race, and after turnLength it passes on, whatever its
// owner does. So a write that is under way (its admission webhook may take seconds, or write to the same object itself) does not
// hold up others for longer than that. What is right is decided by the store alone.
//
// The zero value is ready; nil is a Turns that nobody takes. Methods may be called from any number of goroutines.
type Turns struct {
	mu   sync.Mutex
	keys map[string]*queue
}

// queue is of those who want to write one key.
type queue struct {
	// taken holds a token while somebody has the turn. Who waits to put one in is served in order.
	taken chan struct{}
	// users counts who has a turn or waits for one; at 0 the key is forgotten. Guarded by Turns.mu.
	users int
}

// turn is the right to be the next to write a key.
type turn struct {
	of    *Turns
	key   string
	queue *queue
	pass  sync.Once
	timer *time.Timer
}

// take waits for the turn to write a key, which the caller must end. It returns nil when ctx ends first.
func (t *Turns) take(ctx context.Context, key string) *turn {
	if t == nil {
		return nil
	}
	q := t.join(key)
	select {
	case q.taken <- struct{}{}:
		mine := &turn{of: t, key: key, queue: q}
		mine.timer = time.AfterFunc(turnLength, mine.passOn)
		return mine
	case <-ctx.Done():
		t.leave(key, q)
		return nil
	}
}

func (t *Turns) join(key string) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.keys[key]
	if q == nil {
		if t.keys == nil {
			t.keys = map[string]*queue{}
		}
		q = &queue{taken: make(chan struct{}, 1)}
		t.keys[key] = q
	}
	q.users++
	return q
}

func (t *Turns) leave(key string, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.keys, key)
	}
}

func (mine *turn) passOn() { mine.pass.Do(func() { <-mine.queue.taken }) }

// end lets the next one write. The turn may be nil.
func (mine *turn) end() {
	if mine != nil {
		mine.timer.Stop()
		mine.passOn()
		mine.of.leave(mine.key, mine.queue)
	}
}

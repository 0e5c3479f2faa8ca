package verb

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// A watch that has nothing to do needs no goroutine. Where the connection allows it (Detacher), the handler returns once the watch
// has sent what there was, and the watch goes on in steps: it is woken by the log, by its timer, and by the connection, sends
// what there is, and rests again. The steps of a connection's watches share a goroutine, which must not wait for one client's
// stream; a watch whose client does not take an event at once is given a goroutine until it has.

// Next is what becomes of a detached answer after a step.
type Next int

const (
	// Wait for the next time that the answer is woken.
	Wait Next = iota
	// Block: the step is to be repeated where it may wait.
	Block
	// End of the answer.
	End
)

// Detacher is a ResponseWriter whose answer can go on after its handler has returned.
type Detacher interface {
	// Detach has step called from then on, never twice at a time, each time that the answer is woken: by wake, which never waits; when
	// the client is gone, or the request's context ends; and when the server stops. It reports false if it cannot be done.
	Detach(step func(mayWait bool) Next) (wake func(), ok bool)
	// TryWrite writes all three parts, or, if it would have to wait for that, nothing. It is for steps that may not wait.
	TryWrite(head, body []byte, tail string) (ok bool, err error)
}

// errBusy says that the client does not take just now what there is to send.
var errBusy = errors.New("verb: the client does not read")

// stepRounds is how often a step looks for more before it lets others have their turn.
const stepRounds = 4

// detached is what a watch needs that goes on in steps.
type detached struct {
	ctx   context.Context
	to    Detacher
	wake  func()
	timer *time.Timer
	at    time.Time // what timer is set to
	// trying says that the step may not wait.
	trying bool
	// due says that the timer has fired.
	due atomic.Bool
}

// detach lets the watch go on without its goroutine, if that can be done; it has sent what there is.
func (w *watcher) detach() bool {
	to, ok := w.call.Writer.(Detacher)
	if !ok || w.single || w.call.Resource.Custom != nil && w.api.Endings == nil {
		return false
	}
	d := &detached{ctx: w.request, to: to}
	if d.wake, ok = to.Detach(w.step); !ok {
		return false
	}
	w.detached = d
	d.at = w.nextLook()
	d.timer = time.AfterFunc(time.Until(d.at), func() {
		d.due.Store(true)
		d.wake()
	})
	w.cursor.Notify(d.wake)
	if custom := w.call.Resource.Custom; custom != nil {
		w.api.Endings.add(custom.Done, w)
	}
	return true
}

// step sends what there is.
func (w *watcher) step(mayWait bool) Next {
	d := w.detached
	if _, plain := w.stream.(plainStream); !mayWait && (!plain || w.failure != nil) {
		return Block
	}
	d.trying = !mayWait
	if w.failure == nil {
		goesOn, err := w.pump(d.ctx)
		if goesOn {
			w.setTimer()
			return Wait
		}
		if errors.Is(err, errBusy) {
			return Block
		}
		w.failure = err
	}
	if w.failure != nil {
		if !mayWait {
			return Block
		}
		w.fail(w.failure)
	}
	d.timer.Stop()
	if custom := w.call.Resource.Custom; custom != nil {
		w.api.Endings.remove(custom.Done, w)
	}
	w.end()
	return End
}

// setTimer sets the timer to the next time that something is due.
func (w *watcher) setTimer() {
	d := w.detached
	if at := w.nextLook(); !at.Equal(d.at) {
		d.at = at
		d.timer.Reset(time.Until(at))
	}
}

// nextLook is when the watch has something to do if nothing happens: a bookmark, or its end.
func (w *watcher) nextLook() time.Time {
	if at := w.nextBookmark; !at.IsZero() && at.Before(w.deadline) {
		return at
	}
	return w.deadline
}

// addAtOnce sends an event without a buffer between, if it comes first and the client takes it at once.
func (w *watcher) addAtOnce(typ string, item []byte) (done bool, err error) {
	d := w.detached
	if d == nil || !d.trying || w.buffer != nil {
		return false, nil
	}
	space := eventBuffers.Get().(*[]byte)
	head, body, tail := wire.ItemEvent((*space)[:0], w.out.Media, typ, w.call.Resource.Frame(), item)
	done, err = d.to.TryWrite(head, body, tail)
	*space = head[:0]
	eventBuffers.Put(space)
	return done, err
}

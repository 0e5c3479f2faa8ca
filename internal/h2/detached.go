package h2

import (
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

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

// detached is an answer that goes on, in steps, after its handler has returned. While it waits there is no goroutine for it.
//
// Ownership: whoever has made status running runs the next step, or sees to it that somebody does.
type detached struct {
	response *response
	step     func(mayWait bool) Next
	status   atomic.Int32
}

// What a detached answer may be.
const (
	running int32 = iota
	woken         // is running, and has been woken since
	parked
	over
)

// Detach has the answer go on when its handler returns: step is called each time the answer is woken, never twice at a time, and says
// what comes next. It is woken by wake, which anybody may call at any time and which never waits, when the client or the connection
// ends the stream, and when the server is shut down. A step that may not wait shares its goroutine with those of other answers on the
// connection, and writes with TryWrite only; what all of them write is sent together.
func (r *response) Detach(step func(mayWait bool) Next) (wake func()) {
	d := &detached{response: r, step: step} // the handler is running
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r.stream.detached = d
	if r.sent && len(r.trailers) == 0 {
		r.header = nil // has been sent: it may be long until the answer ends
	}
	if r.stream.failure != nil || c.stopping {
		d.wake() // nobody else will
	}
	return d.wake
}

// wake sees to it that a step begins after the call.
func (d *detached) wake() {
	for {
		switch d.status.Load() {
		case parked:
			if d.status.CompareAndSwap(parked, running) {
				d.response.stream.conn.lane.add(d)
				return
			}
		case running:
			if d.status.CompareAndSwap(running, woken) {
				return
			}
		default:
			return
		}
	}
}

// rest waits to be woken.
func (d *detached) rest() {
	if !d.status.CompareAndSwap(running, parked) { // it has been
		d.status.Store(running)
		d.response.stream.conn.lane.add(d)
	}
}

// run runs a step, and sees to what comes next.
func (d *detached) run(mayWait bool) {
	switch d.try(mayWait) {
	case Wait:
		d.rest()
	case Block:
		go d.run(true)
	case End:
		d.status.Store(over)
		d.response.stream.conn.release()
	}
}

// try runs a step. A panic is the end of the stream.
func (d *detached) try(mayWait bool) (next Next) {
	panicked := true
	defer func() {
		if !panicked {
			return
		}
		d.response.aborted(recover(), debug.Stack)
		next = End
	}()
	if next = d.step(mayWait); next == End {
		d.response.finish()
	}
	panicked = false
	return next
}

// aborted ends the stream of a handler, or of a step, that has panicked.
func (r *response) aborted(cause any, stack func() []byte) {
	r.abort()
	if cause != http.ErrAbortHandler && cause != nil {
		r.stream.conn.server.log.Error("handler panicked", "panic", cause, "stack", string(stack()))
	}
}

// TryWrite is Write of three parts where that can be done without waiting; otherwise it does nothing and returns false.
func (r *response) TryWrite(head, body []byte, tail string) (bool, error) {
	s, c := r.stream, r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.writable(); err != nil {
		return false, err
	}
	n := int64(len(head) + len(body) + len(tail))
	if !r.sent || r.head || r.length >= 0 || n > s.window || n > c.out.window || int64(c.out.size())+n > waitBytes {
		return false, nil
	}
	r.written += n
	s.window -= n
	c.out.window -= n
	for len(head) > 0 {
		head = head[addData(&c.out, s.id, head):]
	}
	for len(body) > 0 {
		body = body[addData(&c.out, s.id, body):]
	}
	for len(tail) > 0 {
		tail = tail[addData(&c.out, s.id, tail):]
	}
	if c.out.size() >= flushBytes {
		c.flush()
	}
	return true, nil
}

// lane runs the steps of a connection's answers, one after the other, and then sends what they have written. It has a goroutine
// while there is something to run.
type lane struct {
	conn *conn

	mu      sync.Mutex // guards the following fields; whoever has it takes no other lock
	ready   []*detached
	running []*detached // what was taken last
	working bool
}

func (l *lane) add(d *detached) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = append(l.ready, d)
	if !l.working {
		l.working = true
		go l.work()
	}
}

func (l *lane) work() {
	for batch := l.take(); len(batch) > 0; batch = l.take() {
		for _, d := range batch {
			d.run(false)
		}
		l.conn.mu.Lock()
		l.conn.flush()
		l.conn.mu.Unlock()
	}
}

// take takes what is to be run; when that is nothing, the work is over.
func (l *lane) take() []*detached {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.running)
	l.ready, l.running = l.running[:0], l.ready
	l.working = len(l.running) > 0
	return l.running
}

// wakeAll wakes all detached answers. The connection's lock is held.
func (c *conn) wakeAll() {
	for _, s := range c.streams {
		if s.detached != nil {
			s.detached.wake()
		}
	}
}

package h2

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/net/http2"
)

// errEnded is what is written to a stream that has ended.
var errEnded = errors.New("http2: stream ended")

// stream is one request and its answer. Its connection's lock guards it.
type stream struct {
	conn   *conn
	id     uint32
	cancel context.CancelFunc

	// window is how much the client takes; wake tells the one who waits for more.
	window  int64
	wake    chan struct{}
	blocked bool // is in conn.out.blocked
	writeBy time.Time
	// ended says that nothing follows to the client; done, that nothing follows from it.
	ended, done bool
	// answered says that the handler has returned: what else the client sends is for nobody.
	answered bool
	// failure is why the stream is over before its time.
	failure error
	// detached is the answer, when it goes on without its handler.
	detached *detached
	body     body
}

// open makes a stream, which the client may write to as long as done is false.
func (c *conn) open(id uint32, done bool) *stream {
	s := &stream{conn: c, id: id, window: c.clientWindow, done: done}
	s.body.init(s)
	c.streams[id] = s
	if !c.active {
		c.active = true
		c.server.note(c.tls, http.StateActive)
	}
	return s
}

// reset ends the stream, and tells the client why.
func (s *stream) reset(code http2.ErrCode, why error) {
	if s.failure == nil {
		s.conn.out.reset(s.id, code)
		s.close(why)
	}
}

// close ends the stream. Whoever waits for it learns why.
func (s *stream) close(why error) {
	if s.failure != nil {
		return
	}
	c := s.conn
	s.failure = why
	s.cancel()
	if delete(c.streams, s.id); len(c.streams) == 0 {
		c.idleSince = time.Now()
	}
	s.body.fail(why)
	s.body.discard()
	signal(s.wake)
	if s.detached != nil {
		s.detached.wake()
	}
	if len(c.streams) == 0 && !c.out.writing && c.out.frames == nil && c.failure == nil {
		c.written()
	}
}

// lingerTime is how long a client may go on sending a request that has been answered.
const lingerTime = 5 * time.Second

// linger leaves a client that is still sending its request the time to read that it has been answered. Only then the stream is reset:
// some clients, curl is one, do not look at an answer that comes together with a reset. What it sends meanwhile is dropped, and not
// made up for in the stream's window, so it cannot be much.
func (s *stream) linger() {
	if s.failure != nil {
		return
	}
	s.answered, s.body.closed = true, true
	s.cancel()
	s.body.discard()
	time.AfterFunc(lingerTime, func() {
		c := s.conn
		c.mu.Lock()
		defer c.mu.Unlock()
		s.reset(http2.ErrCodeNo, errEnded)
		c.flush()
	})
}

// start runs a handler for the stream, or lets it wait for those whose streams are over and that still run.
func (c *conn) start(job job) error {
	if c.handlers < c.server.maxStreams {
		c.handlers++
		go c.run(job)
		return nil
	}
	if len(c.queue) >= queuedHandlers*c.server.maxStreams {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.queue = append(c.queue, job)
	return nil
}

// job is a request to be handled.
type job struct {
	handler  http.Handler
	request  *http.Request
	response *response
}

// run handles a request, and then those that have waited.
func (c *conn) run(j job) {
	for next := &j; next != nil; {
		if detached := next.run(); detached != nil {
			detached.rest() // and counts as one that runs
			return
		}
		next = c.handled()
	}
}

// handled notes that a handler is done, and returns the next request that waits for that.
func (c *conn) handled() *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.next()
	if next == nil {
		c.handlers--
	}
	return next
}

// release is handled for whoever cannot take on another request.
func (c *conn) release() {
	if next := c.handled(); next != nil {
		go c.run(*next)
	}
}

// next takes from the queue the first request that somebody still waits for.
func (c *conn) next() *job {
	for i := range c.queue {
		if j := c.queue[i]; j.response.stream.failure == nil {
			c.queue = c.queue[i+1:]
			return &j
		}
	}
	c.queue = nil
	return nil
}

// run handles one request, and returns what goes on without the handler. A panic is the end of its stream, and of nothing else.
func (j job) run() (goesOn *detached) {
	panicked := true
	defer func() {
		if panicked {
			j.response.aborted(recover(), debug.Stack)
		}
	}()
	j.handler.ServeHTTP(j.response, j.request)
	panicked = false
	if goesOn = j.response.stream.detached; goesOn == nil {
		j.response.finish()
	}
	return goesOn
}

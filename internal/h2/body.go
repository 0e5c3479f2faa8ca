package h2

import (
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// body is the body of a request: what has come of it and has not been read. The connection's lock guards it.
type body struct {
	stream *stream
	// declared is how long it is, -1 if that is not known; got, how much of it has come.
	declared, got int64
	// received is how much the client may still send; returned is what has been read and is not yet told it.
	received, returned int
	data               []byte
	read               int   // of data
	err                error // what follows data
	closed             bool  // nobody reads any more
	// expected says that the client waits to be asked for it.
	expected bool
	readBy   time.Time
	wake     chan struct{}
	trailer  http.Header // the request's, filled at the end of the body
	trailers []hpack.HeaderField
}

func (b *body) init(s *stream) {
	b.stream, b.declared, b.received = s, -1, streamWindow
}

// takeData adds to a body. Frames count against the windows with all that is in them.
func (c *conn) takeData(f *http2.DataFrame) error {
	length := int(f.Length)
	s := c.streams[f.StreamID]
	if s == nil && f.StreamID > c.highest {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.received -= length; c.received < 0 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if s == nil || s.done {
		c.giveBack(length)
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	return s.body.take(f.Data(), length, f.StreamEnded())
}

func (b *body) take(data []byte, length int, end bool) error {
	s := b.stream
	if b.received -= length; b.received < 0 {
		s.conn.giveBack(length)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	b.got += int64(len(data))
	if b.declared >= 0 && b.got > b.declared {
		s.conn.giveBack(length)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	unused := length - len(data)
	if b.closed {
		unused = length
	} else {
		b.add(data)
	}
	b.giveBack(unused)
	if end {
		return b.end()
	}
	signal(b.wake)
	return nil
}

func (b *body) add(data []byte) {
	if b.read == len(b.data) {
		b.data, b.read = b.data[:0], 0
	}
	if cap(b.data) == 0 && b.declared > 0 {
		b.data = make([]byte, 0, min(b.declared, streamWindow))
	}
	b.data = append(b.data, data...)
}

// end notes that the client has sent everything.
func (b *body) end() error {
	if b.declared >= 0 && b.got != b.declared {
		return http2.StreamError{StreamID: b.stream.id, Code: http2.ErrCodeProtocol}
	}
	b.stream.done = true
	b.fail(io.EOF)
	if b.stream.answered {
		b.stream.close(errEnded)
	}
	return nil
}

// fail lets reading end with an error, unless it has an end.
func (b *body) fail(err error) {
	if b.err == nil {
		b.err = err
	}
	signal(b.wake)
}

// discard gives up what nobody will read.
func (b *body) discard() {
	b.giveBack(len(b.data) - b.read)
	b.data, b.read = nil, 0
}

// giveBack lets the client send more, and tells it when there is much of it.
func (b *body) giveBack(n int) {
	s := b.stream
	s.conn.giveBack(n)
	if s.done || s.answered || s.failure != nil {
		return
	}
	if b.returned += n; b.returned >= streamWindow/2 {
		s.conn.out.windowUpdate(s.id, b.returned)
		b.received += b.returned
		b.returned = 0
	}
}

func (c *conn) giveBack(n int) {
	if c.returned += n; c.returned >= c.server.window()/2 && c.failure == nil {
		c.out.windowUpdate(0, c.returned)
		c.received += c.returned
		c.returned = 0
	}
}

// Read reads what has come, and waits if that is nothing. It may be called while a ResponseWriter is used.
func (b *body) Read(p []byte) (int, error) {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case len(b.data) > b.read:
			n := copy(p, b.data[b.read:])
			b.read += n
			b.giveBack(n)
			c.flush()
			return n, nil
		case b.err != nil:
			b.fillTrailer()
			return 0, b.err
		case !b.readBy.IsZero() && !time.Now().Before(b.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		b.ask()
		if b.wake == nil {
			b.wake = make(chan struct{}, 1)
		}
		c.wait(b.wake, b.readBy)
	}
}

// ask asks a client that waits to be asked.
func (b *body) ask() {
	if !b.expected || b.stream.failure != nil {
		return
	}
	b.expected = false
	c := b.stream.conn
	c.out.headers(b.stream.id, c.fields.informational(http.StatusContinue, nil), false)
	c.flush()
}

func (b *body) fillTrailer() {
	for _, f := range b.trailers {
		b.trailer[f.Name] = append(b.trailer[f.Name], f.Value)
	}
	b.trailers = nil
}

// Close says that nobody will read the rest.
func (b *body) Close() error {
	c := b.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	b.closed = true
	b.discard()
	c.flush()
	return nil
}

// setReadDeadline bounds the time until which Read waits.
func (b *body) setReadDeadline(t time.Time) {
	b.stream.conn.mu.Lock()
	defer b.stream.conn.mu.Unlock()
	b.readBy = t
	signal(b.wake)
}

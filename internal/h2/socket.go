package h2

import (
	"net"
	"sync"
	"syscall"
)

// Listener accepts connections on which this package can gather what TLS writes.
type Listener struct{ net.Listener }

// Accept waits for the next connection.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newSocket(c), nil
}

// socket is a connection below TLS. Once it is held, what TLS writes stays in memory until push or drain.
//
// push and drain belong to one goroutine at a time; Write may be called by others meanwhile, as TLS answers a key update from the
// goroutine that reads.
type socket struct {
	net.Conn
	raw     syscall.RawConn // nil if the connection has none
	attempt func(fd uintptr) bool

	mu      sync.Mutex // guards the following fields
	held    bool
	out     *buffer
	sent    int // of out
	failure error
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c}
	if with, ok := c.(syscall.Conn); ok && canAttempt {
		if raw, err := with.SyscallConn(); err == nil {
			s.raw, s.attempt = raw, s.try
		}
	}
	return s
}

// hold begins to keep what is written.
func (s *socket) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		return s.Conn.Write(b) // the handshake
	}
	if s.failure != nil {
		return 0, s.failure
	}
	if s.out == nil {
		s.out = newBuffer()
	}
	s.out.b = append(s.out.b, b...)
	return len(b), nil
}

// push sends what the kernel takes without waiting, and reports whether that was all.
func (s *socket) push() (all bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil || s.out == nil {
		return true, s.failure
	}
	if s.raw == nil {
		return false, nil
	}
	if err := s.raw.Write(s.attempt); err != nil && s.failure == nil {
		s.failure = err
	}
	if s.failure != nil || s.sent == len(s.out.b) {
		s.reset()
	}
	return s.out == nil, s.failure
}

func (s *socket) reset() {
	s.out.free()
	s.out, s.sent = nil, 0
}

// drain sends everything, for as long as that takes.
func (s *socket) drain() error {
	for {
		s.mu.Lock()
		out, sent, err := s.out, s.sent, s.failure
		s.out, s.sent = nil, 0
		s.mu.Unlock()
		if err != nil || out == nil {
			return err
		}
		_, err = s.Conn.Write(out.b[sent:])
		out.free()
		if err != nil {
			s.mu.Lock()
			s.failure = err
			s.mu.Unlock()
			return err
		}
	}
}

// buffer is for what is on its way, before and after TLS. A connection has one only while it has something to send.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 32<<10)} }}

// keptBuffer is the size above which a buffer is not used again.
const keptBuffer = 2 * waitBytes

func newBuffer() *buffer { return buffers.Get().(*buffer) }

// free gives the buffer back. Nobody may use it afterwards.
func (b *buffer) free() {
	if cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

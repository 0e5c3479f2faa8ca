package server

import (
	"net"
	"sync"
)

// taken are the connections that were taken over from HTTP and are still open. net/http forgets those.
type taken struct {
	mu    sync.Mutex
	conns map[*takenConn]struct{}
	over  bool
}

// takenConn forgets itself when it is closed.
type takenConn struct {
	net.Conn
	of *taken
}

func (t *taken) add(conn net.Conn) net.Conn {
	c := &takenConn{conn, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		_ = conn.Close() // whoever took it will notice
		return c
	}
	if t.conns == nil {
		t.conns = map[*takenConn]struct{}{}
	}
	t.conns[c] = struct{}{}
	return c
}

func (c *takenConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// close ends them all, and those that come later.
func (t *taken) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	for c := range t.conns {
		_ = c.Conn.Close()
	}
	t.conns = nil
}

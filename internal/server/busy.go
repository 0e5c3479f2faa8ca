package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// busy knows the connections on which something is under way: a request that has not been read, or an answer that has not been
// written, to its last byte.
type busy struct {
	mu    sync.Mutex // guards the following fields
	conns map[net.Conn]struct{}
	idle  chan struct{} // closed when there are none; made by who waits
}

// note fits http.Server.ConnState. Connections are idle when the last byte of their last answer has been written.
func (b *busy) note(conn net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state == http.StateActive {
		if b.conns == nil {
			b.conns = map[net.Conn]struct{}{}
		}
		b.conns[conn] = struct{}{}
		return
	}
	delete(b.conns, conn)
	if len(b.conns) == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// wait waits until there is nothing under way on any connection.
func (b *busy) wait(ctx context.Context) {
	b.mu.Lock()
	if len(b.conns) == 0 {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// lingering is how long connections get to carry their last bytes away once no request is under way, at the most: they are done
// when they are idle. Clients get the time of flushing to hang up by themselves, which spares them an error in their logs.
const (
	lingering = 100 * time.Millisecond
	flushing  = 5 * time.Millisecond
)

// drain waits for the connections, or until net/http is done with them by itself.
func (b *busy) drain(done <-chan error) {
	ctx, cancel := context.WithTimeout(context.Background(), lingering)
	defer cancel()
	b.wait(ctx)
	select {
	case <-done:
	case <-time.After(flushing):
	}
}

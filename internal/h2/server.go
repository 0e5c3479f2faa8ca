package h2

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options are what may differ; the zero value is useful.
type Options struct {
	// MaxConcurrentStreams is how many streams a connection may have at a time; 0 means 100.
	MaxConcurrentStreams int
	// Logger is told about clients that break the protocol, at debug level, and of handlers that panic; nil means slog's default.
	Logger *slog.Logger
}

// What upstream's server has (apiserver/pkg/server/secure_serving.go).
const (
	defaultStreams = 100
	// streamWindow is how much of a body may arrive before it is read; a connection's window has room for that of all streams.
	streamWindow = 256 << 10
	maxReadFrame = 256 << 10
	defaultIdle  = 90 * time.Second
)

// server is what the connections of one http.Server have in common.
type server struct {
	http       *http.Server
	maxStreams int
	log        *slog.Logger
	date       date

	mu    sync.Mutex // guards the following fields
	conns map[*conn]struct{}
	over  bool
}

// idleTimeout is how long a connection may be without a stream.
func (s *server) idleTimeout() time.Duration { return cmp.Or(s.http.IdleTimeout, defaultIdle) }

// Configure lets a server, which must not be serving yet, serve HTTP/2 by this package, on connections of a Listener. Shutdown lets clients finish the streams
// they have. The server's ConnState hook sees an HTTP/2 connection as active while it has streams, or something to send.
func Configure(to *http.Server, options Options) {
	s := &server{
		http:       to,
		maxStreams: cmp.Or(options.MaxConcurrentStreams, defaultStreams),
		log:        cmp.Or(options.Logger, slog.Default()),
		conns:      map[*conn]struct{}{},
	}
	if to.TLSNextProto == nil {
		to.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	to.TLSNextProto["h2"] = func(_ *http.Server, c *tls.Conn, h http.Handler) { s.serve(c, h) }
	to.RegisterOnShutdown(s.shutdown)
}

// serve serves one connection, whose handshake is over, until it ends.
func (s *server) serve(t *tls.Conn, h http.Handler) {
	base := context.Background()
	if with, ok := h.(interface{ BaseContext() context.Context }); ok {
		base = with.BaseContext() // has what the server's ConnContext put there
	}
	below, ok := t.NetConn().(*socket)
	if !ok {
		s.log.Error("HTTP/2 connection refused: it has not come through this package's Listener")
		_ = t.Close()
		return
	}
	c := newConn(s, t, below, context.WithoutCancel(base))
	if !s.add(c) {
		_ = t.Close()
		return
	}
	defer s.remove(c)
	c.serve()
}

func (s *server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.conns[c] = struct{}{}
	}
	return !s.over
}

func (s *server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// shutdown tells all clients to begin no more streams; their connections end when the last stream has.
func (s *server) shutdown() {
	s.mu.Lock()
	s.over = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		c.stopping = true
		c.wakeAll()
		c.shutdown()
		c.mu.Unlock()
	}
}

// note tells the server's hook how a connection is.
func (s *server) note(c net.Conn, state http.ConnState) {
	if s.http.ConnState != nil {
		s.http.ConnState(c, state)
	}
}

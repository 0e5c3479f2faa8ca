package h2

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// prefaceTimeout is how long a client may take to say that it speaks HTTP/2.
	prefaceTimeout = 10 * time.Second
	// hangUpTimeout is how long a client may take to hang up when it has been told everything.
	hangUpTimeout = time.Second
	// queuedHandlers is how many times as many handlers may wait as may run, when a client resets streams whose handlers run on.
	queuedHandlers = 4
	initialWindow  = 65_535 // RFC 9113 §6.9.2
	// readBytes is how much is taken out of TLS at a time: what a client says about its windows comes in frames of 13 bytes.
	readBytes = 512
	maxWindow = 1<<31 - 1
)

// errGone is what is written to a connection that is no more.
var errGone = errors.New("http2: connection closed")

// conn is one connection.
type conn struct {
	server *server
	tls    *tls.Conn
	socket *socket
	state  *tls.ConnectionState
	base   context.Context
	remote string
	framer *http2.Framer
	lane   lane

	mu       sync.Mutex // guards the following fields, and all streams
	streams  map[uint32]*stream
	highest  uint32 // of the client's streams
	handlers int    // that run
	queue    []job
	out      output
	fields   fieldEncoder
	// clientWindow is how much a new stream may send.
	clientWindow int64
	// received is how much the connection may still receive; returned is what has been read and is not yet told the client.
	received, returned int
	greeted            bool // the client's settings have come
	acked              bool // ours are acknowledged
	leaving            bool // the client has been told to begin no more streams
	stopping           bool // the server is being shut down
	hungUp             bool
	active             bool      // as the server's hook knows it
	idleSince          time.Time // when the last stream ended
	idle               *time.Timer
	failure            error
}

func newConn(s *server, t *tls.Conn, below *socket, base context.Context) *conn {
	state := t.ConnectionState()
	c := &conn{
		server: s, tls: t, socket: below, state: &state, base: base, remote: t.RemoteAddr().String(),
		framer:       http2.NewFramer(io.Discard, bufio.NewReaderSize(t, readBytes)),
		streams:      map[uint32]*stream{},
		clientWindow: initialWindow,
		received:     s.window(),
	}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	c.framer.MaxHeaderListSize = s.maxHeaderList()
	c.framer.SetMaxReadFrameSize(maxReadFrame)
	c.framer.SetReuseFrames()
	c.lane.conn = c
	c.out.window, c.out.maxFrame = initialWindow, 16<<10
	c.fields.init()
	return c
}

// window is how much a connection may receive that nobody has read.
func (s *server) window() int { return min(streamWindow*s.maxStreams, maxWindow) }

// maxHeaderList is the limit of a header block as HTTP/2 counts: 32 bytes more for each field, of which there are about ten.
func (s *server) maxHeaderList() uint32 {
	limit := s.http.MaxHeaderBytes
	if limit <= 0 {
		limit = http.DefaultMaxHeaderBytes
	}
	return uint32(min(limit, 1<<30) + 320)
}

// serve reads frames until the connection ends.
func (c *conn) serve() {
	defer c.end()
	if !secure(c.state) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.goAway(http2.ErrCodeInadequateSecurity)
		return
	}
	if err := c.begin(); err != nil {
		c.server.log.Debug("HTTP/2 connection refused", "client", c.remote, "error", err)
		return
	}
	for {
		frame, err := c.framer.ReadFrame()
		if !c.process(frame, err) {
			return
		}
	}
}

// begin greets the client, and waits for its greeting.
func (c *conn) begin() error {
	c.socket.hold()
	c.mu.Lock()
	c.out.settings(
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxReadFrame},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.server.maxStreams)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: c.server.maxHeaderList()},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
	)
	c.out.windowUpdate(0, c.received-initialWindow)
	c.flush()
	c.idleSince = time.Now()
	c.idle = time.AfterFunc(c.server.idleTimeout(), c.idled)
	c.mu.Unlock()

	if err := c.tls.SetReadDeadline(time.Now().Add(prefaceTimeout)); err != nil {
		return err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.tls, preface); err != nil {
		return fmt.Errorf("no preface: %w", err)
	}
	if !bytes.Equal(preface, []byte(http2.ClientPreface)) {
		return errors.New("bogus preface")
	}
	return c.tls.SetReadDeadline(time.Time{})
}

// process takes a frame, or why there is none, and reports whether to read on.
func (c *conn) process(frame http2.Frame, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.take(frame)
	}
	var streamErr http2.StreamError
	var connErr http2.ConnectionError
	switch {
	case err == nil:
	case errors.As(err, &streamErr):
		c.resetStream(streamErr.StreamID, streamErr.Code)
	case errors.As(err, &connErr):
		if f, ok := frame.(*http2.MetaHeadersFrame); ok && f != nil {
			c.highest = max(c.highest, f.StreamID) // a client would send a request again that nobody has seen
		}
		return c.breach(http2.ErrCode(connErr), err)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return c.breach(http2.ErrCodeFrameSize, err)
	default: // the client is gone
		return false
	}
	if c.out.control > maxControl {
		return c.breach(http2.ErrCodeEnhanceYourCalm, errors.New("too much to answer"))
	}
	c.flush()
	return c.failure == nil
}

// breach ends the connection because the client broke the protocol. It returns false.
func (c *conn) breach(code http2.ErrCode, err error) bool {
	c.server.log.Debug("HTTP/2 connection error", "client", c.remote, "code", code, "error", err, "detail", c.framer.ErrorDetail())
	c.goAway(code)
	return false
}

// goAway tells the client why the connection ends, and leaves it a moment to read that.
func (c *conn) goAway(code http2.ErrCode) {
	if c.failure != nil {
		return
	}
	c.leaving = true
	c.out.goAway(c.highest, code)
	c.hungUp = true // by hand: streams that are there end here
	c.flush()
	c.mu.Unlock()
	defer c.mu.Lock()
	_ = c.tls.SetReadDeadline(time.Now().Add(hangUpTimeout))
	_, _ = io.Copy(io.Discard, c.tls)
}

// end takes everything away.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		c.idle.Stop()
	}
	c.fail(errGone)
	c.queue = nil
}

// fail ends the connection: nothing more is read or written.
func (c *conn) fail(err error) {
	if c.failure != nil {
		return
	}
	c.failure = err
	for _, s := range c.streams {
		s.close(err)
	}
	if c.out.frames != nil {
		c.out.frames.free()
		c.out.frames = nil
	}
	c.out.wake()
	_ = c.socket.Close() // TLS' own Close waits for who writes
}

// take is what each frame means.
func (c *conn) take(frame http2.Frame) error {
	if _, ok := frame.(*http2.SettingsFrame); !ok && !c.greeted {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.takeSettings(f)
	case *http2.MetaHeadersFrame:
		return c.takeHeaders(f)
	case *http2.DataFrame:
		return c.takeData(f)
	case *http2.WindowUpdateFrame:
		return c.takeWindowUpdate(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			c.out.pong(f.Data)
		}
	case *http2.RSTStreamFrame:
		return c.takeReset(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
	case *http2.GoAwayFrame:
		c.shutdown()
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // of a kind that is not known: RFC 9113 §4.1
}

func (c *conn) takeSettings(f *http2.SettingsFrame) error {
	c.greeted = true
	if f.IsAck() {
		if c.acked {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.acked = true
		return nil
	}
	if f.NumSettings() > 100 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err := f.ForeachSetting(c.takeSetting); err != nil {
		return err
	}
	c.out.settingsAck()
	return nil
}

func (c *conn) takeSetting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.fields.encoder.SetMaxDynamicTableSize(s.Val)
	case http2.SettingMaxFrameSize:
		c.out.maxFrame = int(s.Val)
		c.out.open = 0
	case http2.SettingInitialWindowSize:
		by := int64(s.Val) - c.clientWindow
		c.clientWindow = int64(s.Val)
		for _, s := range c.streams {
			if s.window += by; s.window > maxWindow {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
		}
		c.out.wake()
	}
	return nil
}

func (c *conn) takeWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if c.out.window += int64(f.Increment); c.out.window > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.out.wake()
		return nil
	}
	s := c.streams[f.StreamID]
	if s == nil {
		return c.closed(f.StreamID)
	}
	if s.window += int64(f.Increment); s.window > maxWindow {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	signal(s.wake)
	return nil
}

func (c *conn) takeReset(f *http2.RSTStreamFrame) error {
	s := c.streams[f.StreamID]
	if s == nil {
		return c.closed(f.StreamID)
	}
	s.close(http2.StreamError{StreamID: f.StreamID, Code: f.ErrCode})
	return nil
}

// closed tells what a frame on a stream that is not there means: nothing, if the stream has been there.
func (c *conn) closed(id uint32) error {
	if id > c.highest {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// resetStream ends a stream, of which there may be no more than its number.
func (c *conn) resetStream(id uint32, code http2.ErrCode) {
	if s := c.streams[id]; s != nil {
		s.reset(code, http2.StreamError{StreamID: id, Code: code})
		return
	}
	c.highest = max(c.highest, id)
	c.out.reset(id, code)
}

// shutdown tells the client to begin no more streams. The connection ends when it has none.
func (c *conn) shutdown() {
	if c.leaving || c.failure != nil {
		return
	}
	c.leaving = true
	c.out.goAway(c.highest, http2.ErrCodeNo)
	c.flush()
}

// written is called when everything is written.
func (c *conn) written() {
	if len(c.streams) > 0 {
		return
	}
	if c.active {
		c.active = false
		c.server.note(c.tls, http.StateIdle)
	}
	if c.leaving && !c.hungUp {
		c.hungUp = true
		go c.hangUp()
	}
}

// hangUp says that nothing more comes, and leaves the client a moment to do the same: to close a socket with something unread
// in it would take away from the client what it has not read.
func (c *conn) hangUp() {
	_ = c.tls.SetReadDeadline(time.Now().Add(hangUpTimeout))
	_ = c.tls.CloseWrite()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.writing && c.failure == nil {
		c.out.writing = true
		c.drain()
	}
}

// idled ends a connection on which nothing has happened for long, and looks again later at others.
func (c *conn) idled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return
	}
	left := c.server.idleTimeout()
	if len(c.streams) == 0 {
		left -= time.Since(c.idleSince)
	}
	switch {
	case left > 0:
		c.idle.Reset(left)
	case c.out.writing: // the client has not read what it was sent
		c.fail(errGone)
	default:
		c.shutdown()
	}
}

// secure reports whether the connection is encrypted as RFC 9113 §9.2 asks: in TLS 1.2 with ephemeral keys and authenticated
// encryption, of which Go has these.
func secure(state *tls.ConnectionState) bool {
	if state.Version != tls.VersionTLS12 {
		return state.Version > tls.VersionTLS12
	}
	switch state.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}

package h2

import (
	"encoding/binary"
	"os"
	"runtime"
	"time"

	"golang.org/x/net/http2"
)

const (
	// flushBytes is how much is gathered before it is written without anybody's asking.
	flushBytes = 64 << 10
	// waitBytes is how much a connection keeps for a client that does not read; who has more to send waits.
	waitBytes = 256 << 10
	// maxControl bounds the frames that a client has us answer without reading them.
	maxControl = 10_000

	frameHeader = 9
)

// output is what is on its way to the client: whole frames, in order. conn.mu guards it.
type output struct {
	frames *buffer
	// writing says that somebody writes and will go on until nothing is left; promised, that somebody will flush soon.
	writing, promised bool
	// control counts the frames that answer the client's since everything was written.
	control int
	// open is the stream whose data frame is the last in frames, at offset openAt; it may still grow. 0 if there is none.
	open   uint32
	openAt int
	// blocked are those who wait for room, or for the client's windows.
	blocked []*stream

	window   int64 // of the connection, in bytes that the client takes
	maxFrame int   // the client's
}

// frame begins a frame. Its payload, of exactly that length, has to follow.
func (o *output) frame(length int, typ http2.FrameType, flags http2.Flags, stream uint32) []byte {
	if o.frames == nil {
		o.frames = newBuffer()
	}
	o.open = 0
	return appendHeader(o.frames.b, length, typ, flags, stream)
}

func appendHeader(b []byte, length int, typ http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(typ), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

func (o *output) size() int {
	if o.frames == nil {
		return 0
	}
	return len(o.frames.b)
}

func (o *output) settings(settings ...http2.Setting) {
	const each = 6
	b := o.frame(each*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	o.frames.b = b
}

func (o *output) settingsAck() {
	o.control++
	o.frames.b = o.frame(0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}

func (o *output) pong(data [8]byte) {
	o.control++
	o.frames.b = append(o.frame(len(data), http2.FramePing, http2.FlagPingAck, 0), data[:]...)
}

func (o *output) windowUpdate(stream uint32, by int) {
	o.frames.b = binary.BigEndian.AppendUint32(o.frame(4, http2.FrameWindowUpdate, 0, stream), uint32(by))
}

func (o *output) reset(stream uint32, code http2.ErrCode) {
	o.control++
	o.frames.b = binary.BigEndian.AppendUint32(o.frame(4, http2.FrameRSTStream, 0, stream), uint32(code))
}

func (o *output) goAway(last uint32, code http2.ErrCode) {
	b := binary.BigEndian.AppendUint32(o.frame(8, http2.FrameGoAway, 0, 0), last)
	o.frames.b = binary.BigEndian.AppendUint32(b, uint32(code))
}

// headers adds a header block, in as many frames as the client's limit makes necessary.
func (o *output) headers(stream uint32, block []byte, end bool) {
	typ, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		part := block[:min(len(block), o.maxFrame)]
		if block = block[len(part):]; len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders // continuations have the same
		}
		o.frames.b = append(o.frame(len(part), typ, flags, stream), part...)
		if len(block) == 0 {
			return
		}
		typ, flags = http2.FrameContinuation, 0
	}
}

// data adds to the last frame if that is of the same stream and has room, or begins one, and returns how much it took.
func (o *output) data(stream uint32, p []byte) int { return addData(o, stream, p) }

func addData[P []byte | string](o *output, stream uint32, p P) int {
	if o.open != stream {
		if o.frames == nil {
			o.frames = newBuffer()
		}
		o.open, o.openAt = stream, len(o.frames.b)
		o.frames.b = appendHeader(o.frames.b, 0, http2.FrameData, 0, stream)
	}
	length := len(o.frames.b) - o.openAt - frameHeader
	n := min(len(p), o.maxFrame-length)
	o.frames.b = append(o.frames.b, p[:n]...)
	length += n
	header := o.frames.b[o.openAt:]
	header[0], header[1], header[2] = byte(length>>16), byte(length>>8), byte(length)
	if length == o.maxFrame {
		o.open = 0
	}
	return n
}

// end ends a stream with its last data frame.
func (o *output) end(stream uint32) {
	const flags = 4 // where they are in a frame's header
	if o.open == stream {
		o.frames.b[o.openAt+flags] |= byte(http2.FlagDataEndStream)
		o.open = 0
		return
	}
	o.frames.b = o.frame(0, http2.FrameData, http2.FlagDataEndStream, stream)
}

// write puts a part of a body on its way, and waits while the client does not take it. c.mu is held, but not while it waits.
func (s *stream) write(p []byte, end bool) error {
	c := s.conn
	for len(p) > 0 {
		if err := s.writable(); err != nil {
			return err
		}
		if !s.room() {
			c.flush()
			s.waitForRoom()
			continue
		}
		n := int(min(int64(len(p)), waitBytes, s.window, c.out.window))
		n = c.out.data(s.id, p[:n])
		p = p[n:]
		s.window -= int64(n)
		c.out.window -= int64(n)
		if c.out.size() >= flushBytes && len(p) > 0 {
			c.flush()
		}
	}
	if err := s.writable(); err != nil {
		return err
	}
	if end {
		c.out.end(s.id)
		s.ended = true
	}
	if c.out.size() >= flushBytes {
		c.flush()
	}
	return nil
}

// writable tells why nothing can be written any more.
func (s *stream) writable() error {
	switch {
	case s.failure != nil:
		return s.failure
	case s.ended:
		return errEnded
	}
	return nil
}

// room reports whether something can be put on its way.
func (s *stream) room() bool {
	out := &s.conn.out
	return s.window > 0 && out.window > 0 && out.size() < waitBytes
}

// waitForRoom waits until there may be room, or the stream has failed. When the deadline has passed the stream is reset, so that a
// client that has not read for too long does not take what it has got for all.
func (s *stream) waitForRoom() {
	c := s.conn
	if s.writable() != nil || s.room() {
		return // flush had the lock open
	}
	if !s.writeBy.IsZero() && !time.Now().Before(s.writeBy) {
		s.reset(http2.ErrCodeInternal, os.ErrDeadlineExceeded)
		return
	}
	if !s.blocked {
		s.blocked = true
		c.out.blocked = append(c.out.blocked, s)
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	c.wait(s.wake, s.writeBy)
}

// wake lets those look again who wait for room.
func (o *output) wake() {
	for i, s := range o.blocked {
		s.blocked = false
		signal(s.wake)
		o.blocked[i] = nil
	}
	o.blocked = o.blocked[:0]
}

// wait waits for a signal or a deadline, with the lock open.
func (c *conn) wait(on <-chan struct{}, until time.Time) {
	c.mu.Unlock()
	defer c.mu.Lock()
	if until.IsZero() {
		<-on
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-on:
	case <-timer.C:
	}
}

// signal wakes the one who waits on a channel with room for one.
func signal(on chan struct{}) {
	select {
	case on <- struct{}{}:
	default:
	}
}

// flushTogether flushes, with what the other streams are about to add if there are any. c.mu is held, but not all the time.
func (c *conn) flushTogether() {
	if len(c.streams) > 1 {
		c.flushLater()
	} else {
		c.flush()
	}
}

// flushLater flushes when the goroutines that can run now have run: they may have more for the same connection. c.mu is held,
// but not all the time.
func (c *conn) flushLater() {
	if c.out.writing || c.out.promised || c.out.frames == nil {
		return
	}
	c.out.promised = true
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.out.promised = false
	c.flush()
}

// flush writes what there is, unless somebody else does, who then writes this as well. It does not wait for the network. c.mu is
// held, but not all the time.
func (c *conn) flush() {
	if c.out.writing || c.out.frames == nil {
		return
	}
	c.out.writing = true
	c.drain()
}

// drain writes until there is nothing left, or the socket is full; then a goroutine of its own goes on. c.mu is held, and
// c.out.writing set.
func (c *conn) drain() {
	for all := false; !all || c.out.frames != nil; {
		frames := c.out.frames
		c.out.frames, c.out.open = nil, 0
		c.mu.Unlock()
		var err error
		if frames != nil {
			_, err = c.tls.Write(frames.b)
			frames.free()
		}
		if err == nil {
			all, err = c.socket.push()
		}
		c.mu.Lock()
		if err != nil {
			c.out.writing = false
			c.fail(err)
			return
		}
		c.out.wake()
		if !all {
			go c.drainSlowly()
			return
		}
	}
	c.out.writing, c.out.control = false, 0
	c.written()
}

// drainSlowly goes on where drain found the socket full, and waits for it.
func (c *conn) drainSlowly() {
	err := c.socket.drain()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.out.writing = false
		c.fail(err)
		return
	}
	c.drain()
}

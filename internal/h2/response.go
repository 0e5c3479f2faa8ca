package h2

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// keptBytes is how much of a body is kept back while its length is not known: if that is all, the header can tell its length.
const keptBytes = 4 << 10

// response is the http.ResponseWriter of a stream. As all of those, it belongs to one goroutine; deadlines may be set by others.
type response struct {
	stream *stream
	header http.Header
	head   bool // nothing but a header is wanted
	code   int  // 0 until WriteHeader
	// snapshot is the header as it was at WriteHeader, where it was not sent right then.
	snapshot http.Header
	sent     bool
	kept     []byte
	// length is how long the body is, -1 if that is not said; written, how much of it there was.
	length, written int64
	trailers        []string
}

func newResponse(s *stream, r *http.Request) *response {
	return &response{stream: s, header: make(http.Header, 8), head: r.Method == http.MethodHead, length: -1}
}

func (r *response) Header() http.Header {
	if r.header == nil { // it was detached
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader fits http.ResponseWriter. The header is put on its way at once if the body adds nothing to it.
func (r *response) WriteHeader(code int) {
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code)) // as net/http does
	}
	if r.code != 0 {
		return
	}
	if code < http.StatusOK {
		r.inform(code)
		return
	}
	r.code = code
	r.takeLength()
	r.declareTrailers()
	_, typed := r.header["Content-Type"]
	if !r.bodyAllowed() || typed && r.length >= 0 {
		c := r.stream.conn
		c.mu.Lock()
		defer c.mu.Unlock()
		r.sendHeader(!r.bodyAllowed() || r.head || r.length == 0)
		return
	}
	r.snapshot = r.header.Clone()
}

// inform sends an answer that is not the last.
func (r *response) inform(code int) {
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.stream.failure == nil {
		c.out.headers(r.stream.id, c.fields.informational(code, r.header), false)
		c.flush()
	}
}

// takeLength reads how long the body is to be; what is no length is not sent.
func (r *response) takeLength() {
	value := r.header.Get("Content-Length")
	if value == "" {
		return
	}
	length, err := strconv.ParseUint(value, 10, 63)
	if err != nil || !r.bodyAllowed() && r.code != http.StatusNotModified {
		r.header.Del("Content-Length")
		return
	}
	r.length = int64(length)
}

func (r *response) bodyAllowed() bool {
	return r.code != http.StatusNoContent && r.code != http.StatusNotModified
}

func (r *response) declareTrailers() {
	for _, list := range r.header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if httpguts.ValidTrailerHeader(name) && !slices.Contains(r.trailers, name) {
				r.trailers = append(r.trailers, name)
			}
		}
	}
}

// sendHeader puts the header on its way, and what it can tell of the body. The connection's lock is held.
func (r *response) sendHeader(end bool) {
	if r.sent || r.stream.failure != nil {
		return
	}
	r.sent = true
	c := r.stream.conn
	header := r.snapshot
	if header == nil {
		header = r.header
	}
	c.fields.begin(r.code)
	c.fields.header(header)
	if _, typed := header["Content-Type"]; !typed && len(r.kept) > 0 && header.Get("Content-Encoding") == "" {
		c.fields.field("content-type", http.DetectContentType(r.kept))
	}
	if _, dated := header["Date"]; !dated {
		c.fields.field("date", c.server.date.at(time.Now()))
	}
	if end && r.length < 0 && r.bodyAllowed() && (len(r.kept) > 0 || !r.head) {
		c.fields.field("content-length", strconv.Itoa(len(r.kept)))
	}
	ended := end && (r.head || len(r.kept) == 0) && len(r.trailers) == 0
	r.snapshot = nil // it may be a long answer
	c.out.headers(r.stream.id, c.fields.block.Bytes(), ended)
	r.stream.ended = r.stream.ended || ended
	if httpguts.HeaderValuesContainsToken(header["Connection"], "close") {
		c.shutdown()
	}
}

// Write fits http.ResponseWriter. It waits while the client does not read, until the write deadline.
func (r *response) Write(p []byte) (int, error) {
	if r.code == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	r.written += int64(len(p))
	if r.length >= 0 && r.written > r.length {
		return 0, http.ErrContentLength
	}
	if !r.sent && len(r.kept)+len(p) <= keptBytes {
		r.kept = append(r.kept, p...)
		return len(p), nil
	}
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString fits io.StringWriter.
func (r *response) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

// send puts what was kept back, and then p, on its way. The connection's lock is held.
func (r *response) send(p []byte) error {
	r.sendHeader(r.head)
	if r.head {
		return r.stream.failure
	}
	if kept := r.kept; len(kept) > 0 {
		r.kept = nil
		if err := r.stream.write(kept, false); err != nil {
			return err
		}
	}
	if len(p) == 0 {
		return r.stream.failure
	}
	return r.stream.write(p, r.written == r.length && len(r.trailers) == 0)
}

// FlushError fits http.ResponseController.
func (r *response) FlushError() error {
	if r.code == 0 {
		r.WriteHeader(http.StatusOK)
	}
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.send(nil); err != nil {
		return err
	}
	c.flushTogether()
	return r.stream.failure
}

// Flush fits http.Flusher.
func (r *response) Flush() { _ = r.FlushError() }

// SetReadDeadline fits http.ResponseController.
func (r *response) SetReadDeadline(t time.Time) error {
	r.stream.body.setReadDeadline(t)
	return nil
}

// SetWriteDeadline fits http.ResponseController. It bounds how long a write waits for the client.
func (r *response) SetWriteDeadline(t time.Time) error {
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r.stream.writeBy = t
	signal(r.stream.wake)
	return nil
}

// EnableFullDuplex fits http.ResponseController: HTTP/2 always is.
func (r *response) EnableFullDuplex() error { return nil }

// finish ends the answer when its handler has returned.
func (r *response) finish() {
	if r.code == 0 {
		r.WriteHeader(http.StatusOK)
	}
	s, c := r.stream, r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r.sendHeader(true)
	if err := r.sendRest(); err != nil {
		s.reset(http2.ErrCodeInternal, err)
	}
	if s.done {
		s.close(errEnded)
	} else {
		s.linger()
	}
	c.flushTogether()
}

// sendRest sends what was kept back, trailers, and the end.
func (r *response) sendRest() error {
	s, c := r.stream, r.stream.conn
	if s.ended || s.failure != nil {
		return s.failure
	}
	r.addTrailers()
	if err := s.write(r.kept, len(r.trailers) == 0); err != nil {
		return err
	}
	if len(r.trailers) > 0 {
		c.out.headers(s.id, c.fields.trailer(r.trailers, r.header), true)
		s.ended = true
	}
	return nil
}

// addTrailers looks for those that are named only now.
func (r *response) addTrailers() {
	for name := range r.header {
		if strings.HasPrefix(name, http.TrailerPrefix) && !slices.Contains(r.trailers, name) {
			r.trailers = append(r.trailers, name)
		}
	}
}

// abort ends the stream of a handler that could not end it.
func (r *response) abort() {
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.stream.ended {
		r.stream.close(errEnded)
	} else {
		r.stream.reset(http2.ErrCodeInternal, http.ErrAbortHandler)
	}
	c.flush()
}

package h2

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// takeHeaders begins a stream, or ends what the client has to say on one.
func (c *conn) takeHeaders(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if s := c.streams[id]; s != nil {
		return s.takeTrailers(f)
	}
	if id <= c.highest {
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	if c.leaving {
		return nil // it has been told that this one is not looked at
	}
	c.highest = id
	if f.HasPriority() && f.Priority.StreamDep == id {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	if len(c.streams) >= c.server.maxStreams {
		if !c.acked { // it does not know the limit yet
			return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
		}
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	return c.takeRequest(f)
}

// takeRequest makes a request of a header block, and starts its handler.
func (c *conn) takeRequest(f *http2.MetaHeadersFrame) error {
	ctx, cancel := context.WithCancel(c.base)
	request, err := c.request(ctx, f)
	if err != nil {
		cancel()
		return err
	}
	s := c.open(f.StreamID, f.StreamEnded())
	s.cancel = cancel
	handler := c.server.http.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	if f.Truncated {
		handler = http.HandlerFunc(headerTooLarge)
	}
	if !s.done {
		s.body.declared = request.ContentLength
		s.body.trailer = request.Trailer
		if s.body.expected = httpguts.HeaderValuesContainsToken(request.Header["Expect"], "100-continue"); s.body.expected {
			delete(request.Header, "Expect")
		}
		request.Body = &s.body
	}
	return c.start(job{handler, request, newResponse(s, request)})
}

func headerTooLarge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
	_, _ = io.WriteString(w, "<h1>HTTP Error 431</h1><p>Request Header Field(s) Too Large</p>")
}

// request makes a request of a header block (RFC 9113 §8.3). What is malformed is an error of the stream.
func (c *conn) request(ctx context.Context, f *http2.MetaHeadersFrame) (*http.Request, error) {
	malformed := http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	method, path, scheme, host := f.PseudoValue("method"), f.PseudoValue("path"), f.PseudoValue("scheme"), f.PseudoValue("authority")
	header, ok := headerOf(f.RegularFields())
	if !ok {
		return nil, malformed
	}
	if host == "" {
		host = header.Get("Host")
	}
	if !f.Truncated && !allowed(method, path, scheme, host) {
		return nil, malformed
	}
	target := &url.URL{Host: host}
	if method != http.MethodConnect && path != "" {
		var err error
		if target, err = url.ParseRequestURI(path); err != nil {
			return nil, malformed
		}
	} else if method == http.MethodConnect {
		path = host
	}
	length, ok := contentLength(header, f.StreamEnded())
	if !ok {
		return nil, malformed
	}
	r := &http.Request{
		Method: method, URL: target, RequestURI: path, Host: host, Header: header, Trailer: declaredTrailer(header),
		Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: length, Body: http.NoBody, RemoteAddr: c.remote, TLS: c.state,
	}
	return r.WithContext(ctx), nil
}

// allowed checks the pseudo-headers, of which the Framer has seen that they are known and there once.
func allowed(method, path, scheme, authority string) bool {
	if method == http.MethodConnect {
		return path == "" && scheme == "" && authority != ""
	}
	return method != "" && path != "" && (scheme == "https" || scheme == "http") && (path[0] == '/' || path == "*")
}

// headerOf makes a header of fields, and reports whether HTTP/2 allows them (RFC 9113 §8.2.2). Cookies are put together again
// (§8.2.3).
func headerOf(fields []hpack.HeaderField) (http.Header, bool) {
	header := make(http.Header, len(fields))
	values := make([]string, len(fields)) // in one piece for all
	for i, f := range fields {
		switch f.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return nil, false
		case "te":
			if f.Value != "trailers" {
				return nil, false
			}
		}
		name := canonical(f.Name)
		old, there := header[name]
		switch {
		case !there:
			values[i] = f.Value
			header[name] = values[i : i+1 : i+1]
		case name == "Cookie":
			old[0] += "; " + f.Value
		default:
			header[name] = append(old, f.Value)
		}
	}
	return header, true
}

// contentLength reads how long the body is: -1 if that is not said. It reports false if a request without a body says it has one.
func contentLength(header http.Header, ended bool) (int64, bool) {
	value, said := header["Content-Length"]
	if !said {
		if ended {
			return 0, true
		}
		return -1, true
	}
	length, err := strconv.ParseUint(value[0], 10, 63)
	if err != nil || len(value) > 1 || ended && length > 0 {
		return 0, false
	}
	return int64(length), true
}

// declaredTrailer takes out of the header what the client says will follow its body.
func declaredTrailer(header http.Header) http.Header {
	names, ok := header["Trailer"]
	if !ok {
		return nil
	}
	delete(header, "Trailer")
	trailer := http.Header{}
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); httpguts.ValidTrailerHeader(name) {
				trailer[name] = nil
			}
		}
	}
	return trailer
}

// takeTrailers ends the body of a request.
func (s *stream) takeTrailers(f *http2.MetaHeadersFrame) error {
	if s.done {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	}
	if !f.StreamEnded() || len(f.PseudoFields()) > 0 {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	for _, field := range f.RegularFields() {
		name := canonical(field.Name)
		if _, declared := s.body.trailer[name]; declared {
			s.body.trailers = append(s.body.trailers, hpack.HeaderField{Name: name, Value: field.Value})
		}
	}
	return s.body.end()
}

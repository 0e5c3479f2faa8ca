// Package loopback is a way to the server for what lives in its own process: an http.RoundTripper that hands requests to a
// handler, without a socket, TLS or credentials.
//
//	config := loopback.Config(handler, &user.DefaultInfo{Name: "system:apiserver", Groups: []string{"system:masters"}})
//	client, err := kubernetes.NewForConfig(config)
//
// Controllers and admission plugins of upstream's want clients and informers; through this they get them, and what they do goes
// through the whole pipeline (flow control, authorization, admission), as their user.
//
// Who the user is stands in the request's context, under a key that nothing outside of this package can make; so no request from
// a network can claim it.
package loopback

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// Host is the host in the URLs of these requests. Nothing is looked up under this name.
const Host = "kayak.invalid"

// Config returns a configuration for clients that are the user. They have no rate limit: what bounds them is the server.
func Config(handler http.Handler, u user.Info) *rest.Config {
	return &rest.Config{Host: "http://" + Host, Transport: &Transport{Handler: handler, User: u}, QPS: -1}
}

// Transport is an http.RoundTripper that asks a handler as a user. It is safe for concurrent use.
type Transport struct {
	Handler http.Handler
	// User is who asks; nil leaves it to the handler to find out, from the headers.
	User user.Info
}

type userKey struct{}

// User returns who asks, if the request came through a Transport that says so.
func User(ctx context.Context) (user.Info, bool) {
	u, ok := ctx.Value(userKey{}).(user.Info)
	return u, ok
}

// RoundTrip implements http.RoundTripper. The handler runs until it is done, with a context that ends when the body of the
// response is closed or the request's own context ends.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(request.Context())
	if t.User != nil {
		ctx = context.WithValue(ctx, userKey{}, t.User)
	}
	client, server := net.Pipe()
	w := &response{header: http.Header{}, conn: server, ready: make(chan struct{})}
	go func() {
		defer cancel()
		w.serve(t.Handler, received(ctx, request))
	}()
	select {
	case <-w.ready:
	case <-request.Context().Done():
		_ = client.Close()
		return nil, context.Cause(request.Context())
	}
	b := &body{conn: client, response: w, cancel: cancel, request: request.Context()}
	b.stop = context.AfterFunc(request.Context(), func() { _ = client.Close() })
	return &http.Response{
		Status: strconv.Itoa(w.code) + " " + http.StatusText(w.code), StatusCode: w.code,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: w.sent, Body: b, ContentLength: -1, Request: request,
	}, nil
}

// received is the request as a server sees it.
func received(ctx context.Context, request *http.Request) *http.Request {
	r := request.Clone(ctx)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	r.RequestURI, r.RemoteAddr = request.URL.RequestURI(), "127.0.0.1:0"
	if r.Host == "" {
		r.Host = request.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// response is the handler's end. Its methods are for the handler's goroutine, as with net/http's own, but Write may run beside
// SetWriteDeadline.
type response struct {
	header http.Header
	conn   net.Conn
	// ready is closed when code and sent are there.
	ready chan struct{}
	code  int
	sent  http.Header
	// aborted says that the body ended before it was complete.
	aborted atomic.Bool
}

func (w *response) serve(handler http.Handler, r *http.Request) {
	defer func() {
		if cause := recover(); cause != nil {
			w.aborted.Store(true)
			w.WriteHeader(http.StatusInternalServerError) // where the header is not sent yet
			_ = w.conn.Close()
			if cause != http.ErrAbortHandler {
				panic(cause)
			}
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = w.conn.Close()
	}()
	handler.ServeHTTP(w, r)
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code, w.sent = code, w.header.Clone()
		close(w.ready)
	}
}

func (w *response) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(data) == 0 {
		return 0, nil
	}
	return w.conn.Write(data)
}

// Flush sends the header; what is written needs no flush.
func (w *response) Flush() { w.WriteHeader(http.StatusOK) }

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(deadline time.Time) error {
	return w.conn.SetWriteDeadline(deadline)
}

// SetReadDeadline is for http.ResponseController. The body of a request in process does not keep anybody waiting.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// body is the client's end.
type body struct {
	conn     net.Conn
	response *response
	request  context.Context
	cancel   func()
	stop     func() bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.conn.Read(p)
	switch {
	case err == nil:
	case b.request.Err() != nil:
		err = b.request.Err()
	case err == io.EOF && b.response.aborted.Load():
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *body) Close() error {
	b.stop()
	b.cancel()
	return b.conn.Close()
}

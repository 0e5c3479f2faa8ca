package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/rest"
)

// client is one HTTP/2 connection, as client-go has it, without decoding: what comes is read and thrown away.
// All methods may be called from any number of goroutines.
type client struct {
	host      string
	transport *http.Transport
	wrapped   http.RoundTripper // transport with the credentials
	buffers   chan []byte
}

// newClient returns a client that has yet to connect.
func newClient(config *rest.Config) (*client, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true, DisableCompression: true}
	wrapped, err := rest.HTTPWrappersForConfig(config, transport)
	if err != nil {
		return nil, err
	}
	c := &client{host: strings.TrimSuffix(config.Host, "/"), transport: transport, wrapped: wrapped, buffers: make(chan []byte, 4)}
	return c, nil
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// request is what is asked. The method is GET unless there is a body or another is named.
type request struct {
	method, path, accept, contentType string
	body                              []byte
	gzip                              bool
}

// open sends a request and returns the answer, whose body is the caller's. An answer other than 2xx is an error.
func (c *client) open(ctx context.Context, q request) (*http.Response, error) {
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, c.host+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if len(q.body) == 0 {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	setUnlessEmpty(r.Header, "Accept", q.accept)
	setUnlessEmpty(r.Header, "Content-Type", q.contentType)
	if q.gzip {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	answer, err := c.wrapped.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 500))
		return nil, &refused{code: answer.StatusCode, text: fmt.Sprintf("%s %s: %s: %s", method, q.path, answer.Status, text)}
	}
	return answer, nil
}

// refused is an answer other than 2xx.
type refused struct {
	code int
	text string
}

func (r *refused) Error() string { return r.text }

func setUnlessEmpty(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// do sends a request and throws the answer away; it returns the size of the answer, as it was sent.
func (c *client) do(ctx context.Context, q request) (int64, error) {
	answer, err := c.open(ctx, q)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return c.discard(answer.Body)
}

// read sends a request and returns the answer.
func (c *client) read(ctx context.Context, q request) ([]byte, error) {
	answer, err := c.open(ctx, q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

// discard reads to the end, in large pieces.
func (c *client) discard(r io.Reader) (int64, error) {
	var buffer []byte
	select {
	case buffer = <-c.buffers:
	default:
		buffer = make([]byte, 256<<10)
	}
	var sum int64
	for {
		n, err := r.Read(buffer)
		sum += int64(n)
		if err == nil {
			continue
		}
		select {
		case c.buffers <- buffer:
		default:
		}
		if err == io.EOF {
			err = nil
		}
		return sum, err
	}
}

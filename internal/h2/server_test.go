package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kayak-k8s/kayak/internal/h2"
)

// serve serves a handler, and returns its address and a client that speaks HTTP/2 with it.
func serve(t testing.TB, handler http.Handler) (string, *http.Client, *http.Server) {
	t.Helper()
	return serveIdle(t, handler, 0)
}

// serveIdle is serve, with a time that connections may be idle.
func serveIdle(t testing.TB, handler http.Handler, idle time.Duration) (string, *http.Client, *http.Server) {
	t.Helper()
	borrowed := httptest.NewUnstartedServer(nil) // for its certificate
	borrowed.StartTLS()
	certificate := borrowed.TLS.Certificates[0]
	roots := borrowed.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	borrowed.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler, IdleTimeout: idle,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, DynamicRecordSizingDisabled: true},
	}
	h2.Configure(server, h2.Options{MaxConcurrentStreams: 100})
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(h2.Listener{Listener: listener}, "", "") }()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true,
	}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String(), client, server
}

func get(t testing.TB, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.ProtoMajor != 2 {
		t.Fatalf("answered in %s", response.Proto)
	}
	return response, string(body)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789", 1<<20)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, large) })
	mux.HandleFunc("/known", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Content-Type", "text/x")
		_, _ = io.WriteString(w, "hello")
		if _, err := io.WriteString(w, "!"); !errors.Is(err, http.ErrContentLength) {
			t.Errorf("more than was said: %v", err)
		}
	})
	mux.HandleFunc("/nothing", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "!"); !errors.Is(err, http.ErrBodyNotAllowed) {
			t.Errorf("a body without a body: %v", err)
		}
	})
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("Too", "late")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Said")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("Said", "before")
		w.Header().Set(http.TrailerPrefix+"Unsaid", "after")
	})
	address, client, _ := serve(t, mux)
	url := "https://" + address

	t.Run("small", func(t *testing.T) {
		response, body := get(t, client, url+"/small")
		if body != "GET /small" || response.ContentLength != 10 || response.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%q %+v", body, response)
		}
		if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
			t.Error(err)
		}
	})
	t.Run("large", func(t *testing.T) {
		if _, body := get(t, client, url+"/large"); body != large {
			t.Errorf("%d bytes, not those that were sent", len(body))
		}
	})
	t.Run("known", func(t *testing.T) {
		if response, body := get(t, client, url+"/known"); body != "hello" || response.ContentLength != 5 {
			t.Errorf("%q %+v", body, response)
		}
	})
	t.Run("none", func(t *testing.T) {
		if response, body := get(t, client, url+"/nothing"); body != "" || response.StatusCode != http.StatusNoContent {
			t.Errorf("%q %+v", body, response)
		}
		if response, body := get(t, client, url+"/empty"); body != "" || response.ContentLength != 0 || response.StatusCode != http.StatusOK {
			t.Errorf("%q %+v", body, response)
		}
		if response, _ := get(t, client, url+"/late"); response.StatusCode != http.StatusAccepted || response.Header.Get("Too") != "" {
			t.Errorf("%+v", response)
		}
	})
	t.Run("head", func(t *testing.T) {
		for path, length := range map[string]int64{"/small": 11, "/known": 5, "/large": -1} {
			response, err := client.Head(url + path)
			if err != nil {
				t.Fatal(err)
			}
			if response.ContentLength != length {
				t.Errorf("%s: %d", path, response.ContentLength)
			}
		}
	})
	t.Run("echo", func(t *testing.T) {
		for _, size := range []int{0, 1, 100, 5000, 1 << 20, 40 << 20} { // the last is more than all windows
			sent := bytes.Repeat([]byte("abcdefg\n"), size/8)
			response, err := client.Post(url+"/echo", "text/plain", io.MultiReader(bytes.NewReader(sent))) // of no known length
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d: %d bytes, %v", size, len(got), err)
			}
		}
	})
	t.Run("trailers", func(t *testing.T) {
		response, body := get(t, client, url+"/trailers")
		if body != "body" || response.Trailer.Get("Said") != "before" || response.Trailer.Get("Unsaid") != "after" {
			t.Errorf("%q %v", body, response.Trailer)
		}
	})
}

// TestRequests holds what a handler sees to what net/http's own server shows it.
func TestRequests(t *testing.T) {
	t.Parallel()
	see := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %d %v %q %v\n%v %v\n", r.Method, r.URL, r.RequestURI, r.Proto, r.ContentLength, r.Header, body, err,
			r.Trailer, r.TLS.NegotiatedProtocol)
	})
	theirs := httptest.NewUnstartedServer(see)
	theirs.EnableHTTP2 = true
	theirs.StartTLS()
	defer theirs.Close()
	theirs.Client().Transport.(*http.Transport).DisableCompression = true
	address, client, _ := serve(t, see)
	for name, request := range map[string]func(url string) *http.Request{
		"get":  func(url string) *http.Request { return mustRequest(t, "GET", url+"/a%2fb?c=d%20e&f", nil) },
		"post": func(url string) *http.Request { return mustRequest(t, "POST", url+"/", strings.NewReader("body")) },
		"put of no known length": func(url string) *http.Request {
			return mustRequest(t, "PUT", url+"/", io.MultiReader(strings.NewReader("body")))
		},
		"headers": func(url string) *http.Request {
			r := mustRequest(t, "GET", url+"/", nil)
			r.Header = http.Header{"A": {"1", "2"}, "Cookie": {"a=b", "c=d"}, "User-Agent": {"x"}, "Te": {"trailers"}}
			return r
		},
		"trailers": func(url string) *http.Request {
			r := mustRequest(t, "POST", url+"/", io.MultiReader(strings.NewReader("body")))
			r.Trailer = http.Header{"Sum": {"1"}}
			return r
		},
		"expects": func(url string) *http.Request {
			r := mustRequest(t, "POST", url+"/", strings.NewReader("body"))
			r.Header.Set("Expect", "100-continue")
			return r
		},
		"delete": func(url string) *http.Request { return mustRequest(t, "DELETE", url+"/x", strings.NewReader("{}")) },
	} {
		t.Run(name, func(t *testing.T) {
			ours := do(t, client, request("https://"+address))
			if want := do(t, theirs.Client(), request(theirs.URL)); ours != want {
				t.Errorf("seen\n%s\nwant\n%s", ours, want)
			}
		})
	}
}

func mustRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t *testing.T, client *http.Client, r *http.Request) string {
	t.Helper()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestStreams has many streams of one connection say the same at the same time, as watches do, and some answers in between.
func TestStreams(t *testing.T) {
	t.Parallel()
	const streams, events = 90, 50
	event := bytes.Repeat([]byte("x"), 7<<10)
	var turns [events]chan struct{}
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			_, _ = io.WriteString(w, "other")
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for _, turn := range turns {
			<-turn
			if _, err := w.Write(event); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
		}
	}))
	var begun, ended sync.WaitGroup
	var heard [events]sync.WaitGroup
	for i := range heard {
		heard[i].Add(streams)
	}
	for range streams {
		begun.Add(1)
		ended.Go(func() {
			response, err := client.Get("https://" + address)
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			buffer := make([]byte, len(event))
			for i := range heard {
				if _, err := io.ReadFull(response.Body, buffer); err != nil || !bytes.Equal(buffer, event) {
					t.Error("not the event", err)
				}
				heard[i].Done()
			}
			if n, err := response.Body.Read(buffer); n != 0 || err != io.EOF {
				t.Error("more than was sent", n, err)
			}
		})
	}
	begun.Wait()
	for i := range heard {
		close(turns[i])
		if _, body := get(t, client, "https://"+address+"/other"); body != "other" {
			t.Error(body)
		}
		heard[i].Wait()
	}
	ended.Wait()
}

// TestNotRead has a client that does not read: its writer waits until its deadline, others are served, on the same connection too.
func TestNotRead(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			_, _ = io.WriteString(w, "other")
			return
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		for part := make([]byte, 64<<10); ; {
			if _, err := w.Write(part); err != nil {
				failed <- err
				return
			}
		}
	}))
	response, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, client, "https://"+address+"/other"); body != "other" {
		t.Error(body)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Error("the client takes what it has got for everything")
	}
}

// TestClientGone lets a handler know that nobody waits for its answer.
func TestClientGone(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan error, 1)
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		_, err := io.WriteString(w, strings.Repeat("x", 2*64<<10))
		gone <- err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	request := mustRequest(t, "GET", "https://"+address, nil).WithContext(ctx)
	go func() {
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-begun
	cancel()
	if err := <-gone; err == nil {
		t.Error("written to a client that is gone")
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			_, _ = io.WriteString(w, strings.Repeat("x", 5000))
			w.(http.Flusher).Flush()
		}
		if r.URL.Path != "/well" {
			panic(http.ErrAbortHandler)
		}
	}))
	if _, err := client.Get("https://" + address); err == nil {
		t.Error("an answer, although the handler panicked")
	}
	response, err := client.Get("https://" + address + "/begun")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Error("an end, although the handler panicked")
	}
	get(t, client, "https://"+address+"/well")
}

// TestShutdown lets streams end, and then the connection.
func TestShutdown(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	address, client, server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(begun)
		<-end
		_, _ = io.WriteString(w, "the end")
	}))
	response, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	done := make(chan error, 1)
	go func() { done <- server.Shutdown(t.Context()) }()
	select {
	case err := <-done:
		t.Error("ended with a stream open", err)
	case <-time.After(50 * time.Millisecond): // what should not happen has had its chance
	}
	close(end)
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "the end" {
		t.Errorf("%q %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestClose closes the connection when an answer says so, after the streams that there are.
func TestClose(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	from := map[string]bool{}
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "once")
	}))
	for range 3 {
		response, body := get(t, client, "https://"+address)
		if body != "once" || response.Header.Get("Connection") != "" {
			t.Errorf("%q %v", body, response.Header)
		}
	}
	if len(from) < 2 {
		t.Errorf("the client has kept its connection: %v", from)
	}
}

// TestIdle ends connections that are not used, and those of clients that do not read what they have asked for.
func TestIdle(t *testing.T) {
	t.Parallel()
	const idle = 200 * time.Millisecond
	ended := make(chan struct{})
	address, _, _ := serveIdle(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(idle))
		for part := make([]byte, 64<<10); ; {
			if _, err := w.Write(part); err != nil {
				close(ended)
				return
			}
		}
	}), idle)
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, http2.ClientPreface)
		_ = http2.NewFramer(c, nil).WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		return c
	}

	unused := dial()
	framer := http2.NewFramer(io.Discard, unused)
	told := false
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			told = true
		}
	}
	if !told {
		t.Error("closed without a word")
	}

	silent := dial()
	var block bytes.Buffer
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}} {
		_ = hpack.NewEncoder(&block).WriteField(field)
	}
	framer = http2.NewFramer(silent, nil)
	_ = framer.WriteWindowUpdate(0, 1<<30)
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	<-ended
	// The server hangs up although what it has written has not been read: writing to it fails sooner or later.
	for deadline := time.Now().Add(20 * time.Second); framer.WritePing(false, [8]byte{}) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("the connection of a client that does not read is kept")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAnsweredEarly answers requests that are not read: the client gets the answer, and is not reset while it may be reading it.
func TestAnsweredEarly(t *testing.T) {
	t.Parallel()
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}))
	response, err := client.Post("https://"+address, "text/plain", bytes.NewReader(make([]byte, 8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "too large\n" {
		t.Errorf("%q %v", body, err)
	}

	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}} {
		_ = encoder.WriteField(field)
	}
	for _, id := range []uint32{1, 3} {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		block.Reset()
		for _, field := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}} {
			_ = encoder.WriteField(field)
		}
	}
	ended, reset := map[uint32]bool{}, map[uint32]bool{}
	for !reset[3] {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			if f.StreamEnded() {
				ended[f.StreamID] = true
			}
			if f.StreamID == 1 && f.StreamEnded() { // this one comes to its end, the other one never does
				_ = framer.WriteData(1, false, make([]byte, 1000))
				_ = framer.WriteData(1, true, nil)
			}
		case *http2.RSTStreamFrame:
			if reset[f.StreamID] = true; f.ErrCode != http2.ErrCodeNo || f.StreamID == 1 || !ended[f.StreamID] {
				t.Errorf("reset: %v", f)
			}
		}
	}
	if !ended[1] || !ended[3] {
		t.Errorf("answered: %v", ended)
	}
}

package h2_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kayak-k8s/kayak/internal/h2"
)

// detacher is what a ResponseWriter of the package has besides.
type detacher interface {
	Detach(step func(mayWait bool) h2.Next) (wake func())
	TryWrite(head, body []byte, tail string) (bool, error)
}

// begin sends the header.
func begin(w http.ResponseWriter) detacher {
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	return w.(detacher)
}

// TestDetached has answers go on without handlers: each is woken many times, by many, and sends what is new each time.
func TestDetached(t *testing.T) {
	t.Parallel()
	const streams, lines = 60, 300
	var wakes []func()
	var written [streams]atomic.Int64
	var mu sync.Mutex
	var ready sync.WaitGroup
	var newest atomic.Int64
	var handlers atomic.Int64
	ready.Add(streams)
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Add(-1)
		d := begin(w)
		mu.Lock()
		defer mu.Unlock()
		i := len(wakes)
		sent := &written[i]
		var stepping atomic.Bool
		wakes = append(wakes, d.Detach(func(mayWait bool) h2.Next {
			if stepping.Swap(true) {
				t.Error("two steps at a time")
			}
			defer stepping.Store(false)
			for next := sent.Load() + 1; next <= newest.Load(); next++ {
				line := []byte(strings.Repeat("x", int(next*37%5000)) + "\n")
				if mayWait {
					if _, err := w.Write(line); err != nil {
						t.Error(err)
					}
				} else if ok, err := d.TryWrite(line[:len(line)/3], line[len(line)/3:len(line)-1], "\n"); err != nil {
					t.Error(err)
				} else if !ok || next%50 == 7 && sent.Load() < next-1 {
					return h2.Block
				}
				sent.Store(next)
			}
			if mayWait {
				w.(http.Flusher).Flush()
			}
			if sent.Load() == lines {
				return h2.End
			}
			return h2.Wait
		}))
		ready.Done()
	}))
	var readers sync.WaitGroup
	for range streams {
		readers.Go(func() {
			response, err := client.Get("https://" + address)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			in := bufio.NewScanner(response.Body)
			n := int64(0)
			for in.Scan() {
				n++
				if want := n * 37 % 5000; int64(len(in.Text())) != want {
					t.Errorf("line %d has %d bytes, want %d", n, len(in.Text()), want)
					return
				}
			}
			if n != lines || in.Err() != nil {
				t.Errorf("%d lines, %v", n, in.Err())
			}
		})
	}
	ready.Wait()
	var wakers sync.WaitGroup
	for range 3 {
		wakers.Go(func() {
			for newest.Load() < lines {
				mu.Lock()
				newest.Add(1)
				if newest.Load() > lines {
					newest.Store(lines)
				}
				for _, wake := range wakes {
					wake()
				}
				mu.Unlock()
				runtime.Gosched()
			}
		})
	}
	wakers.Wait()
	readers.Wait()
	if n := handlers.Load(); n != 0 {
		t.Errorf("%d handlers have not returned", n)
	}
}

// TestDetachedNotRead: what a client does not read is not taken, and a step that may wait does.
func TestDetachedNotRead(t *testing.T) {
	t.Parallel()
	refused := make(chan struct{})
	part := bytes.Repeat([]byte("x"), 100<<10)
	const parts = 200
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := begin(w)
		n := 0
		d.Detach(func(mayWait bool) h2.Next {
			for ; n < parts; n++ {
				if mayWait {
					if _, err := w.Write(part); err != nil {
						t.Error(err)
					}
					continue
				}
				if ok, err := d.TryWrite(nil, part, ""); err != nil {
					t.Error(err)
				} else if !ok {
					close(refused)
					return h2.Block
				}
			}
			return h2.End
		})()
	}))
	response, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	<-refused
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != int64(parts*len(part)) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestDetachedIsToldOfTheEnd: an answer is woken when its client is gone, and when the server is shut down, also if that happens before
// it is detached; and its place is free again afterwards.
func TestDetachedIsToldOfTheEnd(t *testing.T) {
	t.Parallel()
	ended, late := make(chan error, 1), make(chan struct{})
	stopping := make(chan struct{})
	address, client, server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			late <- struct{}{}
			<-r.Context().Done() // before it is detached
		}
		begin(w).Detach(func(bool) h2.Next {
			select {
			case <-stopping:
				_, _ = io.WriteString(w, "the end")
			default:
				if r.Context().Err() == nil {
					return h2.Wait
				}
			}
			ended <- r.Context().Err()
			return h2.End
		})
	}))
	for range 250 { // more than there are places
		ctx, cancel := context.WithCancel(t.Context())
		response, err := client.Do(mustRequest(t, "GET", "https://"+address, nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = response.Body.Close()
		if err := <-ended; err == nil {
			t.Fatal("woken, though nothing has happened")
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			<-late
			cancel()
		}()
		if _, err := client.Do(mustRequest(t, "GET", "https://"+address+"/late", nil).WithContext(ctx)); err == nil {
			t.Fatal("answered, though nobody waits")
		}
		if err := <-ended; err == nil {
			t.Fatal("woken, though nothing has happened")
		}
	}
	response, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	close(stopping)
	done := make(chan error, 1)
	go func() { done <- server.Shutdown(t.Context()) }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "the end" {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDetachedPanic: a step that panics ends its stream and nothing else.
func TestDetachedPanic(t *testing.T) {
	t.Parallel()
	address, client, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := begin(w)
		if r.URL.Path == "/early" {
			d.Detach(func(bool) h2.Next { t.Error("a step after a panic"); return h2.End })
			panic(http.ErrAbortHandler)
		}
		d.Detach(func(mayWait bool) h2.Next {
			if !mayWait && r.URL.Path == "/block" {
				return h2.Block
			}
			if r.URL.Path != "/well" {
				panic(http.ErrAbortHandler)
			}
			return h2.End
		})()
	}))
	for _, path := range []string{"/", "/block", "/early"} {
		for range 120 {
			response, err := client.Get("https://" + address + path)
			if err != nil {
				continue // the reset overtook the header
			}
			if _, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Fatal("an end, although there was a panic")
			}
		}
	}
	get(t, client, "https://"+address+"/well")
}

package verb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// stepped is a connection that answers go on without their handlers. It is busy as often as not.
type stepped struct {
	header http.Header
	busy   func() bool

	mu      sync.Mutex
	body    bytes.Buffer
	arrived chan struct{} // closed and replaced with each write

	step   func(mayWait bool) verb.Next
	woken  chan struct{}
	ended  chan struct{}
	blocks int
}

func newStepped(busy func() bool) *stepped {
	return &stepped{header: http.Header{}, busy: busy, arrived: make(chan struct{}), woken: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (s *stepped) Header() http.Header { return s.header }
func (s *stepped) WriteHeader(int)     {}
func (s *stepped) FlushError() error   { return nil }

func (s *stepped) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body.Write(p)
	close(s.arrived)
	s.arrived = make(chan struct{})
	return len(p), nil
}

func (s *stepped) TryWrite(head, body []byte, tail string) (bool, error) {
	if s.busy() {
		return false, nil
	}
	_, err := s.Write(slices.Concat(head, body, []byte(tail)))
	return true, err
}

func (s *stepped) Detach(step func(mayWait bool) verb.Next) (func(), bool) {
	s.step = step
	return s.wake, true
}

func (s *stepped) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// run runs steps until the answer ends.
func (s *stepped) run() {
	defer close(s.ended)
	for range s.woken {
		switch s.step(false) {
		case verb.Block:
			s.blocks++
			if s.step(true) == verb.End {
				return
			}
		case verb.End:
			return
		}
	}
}

// next returns the next event.
func (s *stepped) next(t *testing.T) event {
	t.Helper()
	for {
		s.mu.Lock()
		line, err := s.body.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				t.Fatalf("a part of an event: %q", line)
			}
			arrived := s.arrived
			s.mu.Unlock()
			select {
			case <-arrived:
			case <-s.ended:
				t.Fatal("the watch has ended")
			}
			continue
		}
		s.mu.Unlock()
		return parseEvent(t, line)
	}
}

// watchInSteps begins a watch and returns when its handler has.
func (f *fixture) watchInSteps(t *testing.T, ctx context.Context, path string, busy func() bool) *stepped {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newStepped(busy)
	context.AfterFunc(ctx, s.wake)
	f.serve(s, r)
	if s.step == nil {
		t.Fatalf("not detached: %s", s.body.String())
	}
	go s.run()
	return s
}

func never() bool { return false }

// TestWatchInSteps: a watch that goes on without its handler tells everything, once and in order, whether its client takes it at
// once or not; it takes in what has happened while the handler returned.
func TestWatchInSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const configMaps = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", configMaps, `{"metadata":{"name":"first"}}`)
	f.catchUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	var watches []*stepped
	for i := range 4 {
		busy := never
		if i%2 == 1 {
			busy = func() bool { return rand.IntN(2) == 0 }
		}
		path := configMaps + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
		if i > 1 {
			path += "&fieldSelector=metadata.name%3Dcounter"
		}
		s := f.watchInSteps(t, ctx, path, busy)
		if i <= 1 {
			if e := s.next(t); e.Type != "ADDED" || e.Object.Name != "first" {
				t.Fatalf("got %v", e)
			}
		}
		if e := s.next(t); e.Type != "BOOKMARK" {
			t.Fatalf("got %v", e)
		}
		watches = append(watches, s)
	}
	const writes = 500
	f.must(t, "POST", configMaps, `{"metadata":{"name":"counter","labels":{"n":"0"}}}`)
	go func() {
		for n := 1; n <= writes; n++ {
			f.must(t, "PUT", configMaps+"/counter", fmt.Sprintf(`{"metadata":{"name":"counter","labels":{"n":"%d"}}}`, n))
		}
	}()
	for i, s := range watches {
		for n := 0; n <= writes; n++ {
			typ := "MODIFIED"
			if n == 0 {
				typ = "ADDED"
			}
			if e := s.next(t); e.Type != typ || e.Object.Labels["n"] != fmt.Sprint(n) {
				t.Fatalf("watch %d: got %s %v, want %s %d", i, e.Type, e.Object.Labels, typ, n)
			}
		}
	}
	cancel() // the client is gone
	for i, s := range watches {
		<-s.ended
		if i%2 == 1 && s.blocks == 0 {
			t.Error("never busy")
		}
	}
}

// TestWatchInStepsEnds: it ends when its time is over, with a bookmark before that, when its place is gone, and when the server stops.
func TestWatchInStepsEnds(t *testing.T) {
	t.Parallel()
	const configMaps = "/api/v1/namespaces/default/configmaps"
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		began := time.Now()
		s := f.watchInSteps(t, t.Context(), configMaps+"?watch=1&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=3", never)
		if e := s.next(t); e.Type != "BOOKMARK" {
			t.Errorf("got %v", e)
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("a bookmark after %v, not after 1s", took)
		}
		<-s.ended
		if took := time.Since(began); took < 2900*time.Millisecond || s.body.Len() > 0 {
			t.Errorf("ended after %v, with %q", took, s.body.String())
		}
	})
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprint("expired ", busy), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			s := f.watchInSteps(t, t.Context(), configMaps+"?watch=1", func() bool { return busy })
			f.State.RemoveFamily(root + "configmaps/")
			<-s.ended
			var e struct {
				Type   string
				Object struct{ Code int }
			}
			if err := json.Unmarshal(s.body.Bytes(), &e); err != nil || e.Type != "ERROR" || e.Object.Code != http.StatusGone {
				t.Errorf("%v: %s", err, s.body.String())
			}
		})
	}
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprint("served otherwise ", busy), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			custom, done := *f.table.Resource("", "v1", "configmaps").Kind, make(chan struct{})
			custom.Custom = &kind.Custom{Done: done}
			resource := *f.table.Resource("", "v1", "configmaps")
			resource.Kind = &custom
			var watches []*stepped
			for range 3 {
				s := newStepped(func() bool { return busy })
				r := httptest.NewRequestWithContext(t.Context(), "GET", configMaps+"?watch=1&resourceVersion=1", nil)
				info, err := request.Parse(r, r.URL.Query())
				if err != nil {
					t.Fatal(err)
				}
				if err := f.Serve(&verb.Call{Writer: s, Request: r, Query: r.URL.Query(), Info: info, Resource: &resource}); err != nil || s.step == nil {
					t.Fatal("not detached", err)
				}
				watches = append(watches, s)
			}
			for range 100 {
				f.must(t, "POST", configMaps, `{"metadata":{"generateName":"last"}}`)
			}
			f.catchUp(t)
			close(done)
			for _, s := range watches {
				go s.run()
				<-s.ended
				if n := bytes.Count(s.body.Bytes(), []byte("ADDED")); n != 100 {
					t.Errorf("%d events were told, want 100", n)
				}
			}
		})
	}
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		stopping := make(chan struct{})
		f.Stopping = stopping
		s := f.watchInSteps(t, t.Context(), configMaps+"?watch=1", never)
		f.must(t, "POST", configMaps, `{"metadata":{"name":"last"}}`)
		if e := s.next(t); e.Object.Name != "last" {
			t.Errorf("got %v", e)
		}
		f.must(t, "POST", "/api/v1/namespaces/default/secrets", `{"metadata":{"name":"something-else"}}`)
		f.catchUp(t)
		close(stopping)
		s.wake()
		<-s.ended
	})
}

package state

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// A tail sees what no family knows, too, in order and once.
func TestTailSeesEverything(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	f.put("/registry/pods/default/before", []byte("n1"))
	s := synced(t, start(t, f))
	snapshot, tail := s.Tail()
	if snapshot.Get("/registry/pods/default/before") == nil {
		t.Error("the snapshot has not what there was")
	}
	f.put("/registry/pods/default/a", []byte("n1"))
	f.put("/registry/unknown/b", []byte("x"))
	last := f.put("/registry/pods/default/a", nil)
	var got []string
	for snapshot.Revision() < last {
		events, now, err := tail.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		snapshot = now
		for _, e := range events {
			got = append(got, fmt.Sprint(e.Record.Key, " ", e.Deleted))
		}
	}
	want := "[/registry/pods/default/a false /registry/unknown/b false /registry/pods/default/a true]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	sameContents(t, f, snapshot)
}

func TestTailEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := synced(t, start(t, newFakeStore()))
	_, tail := s.Tail()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := tail.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A tail that the history has left behind says so, and does not skip anything.
func TestTailExpires(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	s := synced(t, start(t, f, func(o *Options) { o.HistoryBytes = 1 }))
	_, tail := s.Tail()
	for range 3 {
		atLeast(t, s, f.put("/registry/pods/default/a", []byte("n1")))
	}
	if _, _, err := tail.Next(within(t)); !errors.Is(err, ErrExpired) {
		t.Errorf("error %v", err)
	}
}

package manager

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

// heard is a listener that writes down what it is told.
type heard struct {
	kept   []string
	told   []string
	enough chan struct{} // closed with the event of /registry/a/last
}

func (h *heard) begin(snapshot *state.Snapshot) {
	snapshot.Ascend("/registry/a/", "", func(r *state.Record) bool {
		h.told = append(h.told, "there "+r.Key)
		return true
	})
}

func describe(e *state.Event) string {
	switch {
	case e.Deleted:
		return fmt.Sprintf("- %s %s", e.Record.Key, e.Record.Value())
	case e.Previous != nil:
		return fmt.Sprintf("~ %s %s %s", e.Record.Key, e.Previous.Value(), e.Record.Value())
	}
	return fmt.Sprintf("+ %s %s", e.Record.Key, e.Record.Value())
}

func (h *heard) keep(e *state.Event) { h.kept = append(h.kept, describe(e)) }

func (h *heard) changed(e *state.Event) {
	h.told = append(h.told, describe(e))
	if strings.HasSuffix(e.Record.Key, "/last") {
		close(h.enough)
	}
}

// writer writes to a store and waits until the state has it.
type writer struct {
	t     *testing.T
	store *memory.Store
	state *state.State
}

func (w *writer) put(key, value string) {
	w.t.Helper()
	kv, _ := w.store.Get(w.t.Context(), key) // not there is revision 0
	if _, err := w.store.Put(w.t.Context(), key, []byte(value), kv.Revision, store.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) remove(key string) {
	w.t.Helper()
	kv, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Delete(w.t.Context(), key, kv.Revision); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) wait() *state.Snapshot {
	w.t.Helper()
	snapshot, err := w.state.Consistent(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return snapshot
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	w := &writer{t: t, store: memory.New()}
	header := func(string, []byte) (state.Header, error) { return state.Header{}, nil }
	w.state = state.New(state.Options{
		Store: w.store, Prefix: "/registry/", Families: []state.Family{{Prefix: "/registry/a/", Header: header}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.state.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = w.store.Close()
	})
	if err := w.state.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// A feed that the history has left behind compares what there was with what there is: nothing is missed but what came and went.
func TestFeedThatMissedChanges(t *testing.T) {
	t.Parallel()
	for _, missed := range []bool{false, true} {
		t.Run(fmt.Sprint("missed ", missed), func(t *testing.T) {
			t.Parallel()
			w := newWriter(t)
			for _, name := range []string{"changed", "removed", "replaced", "same"} {
				w.put("/registry/a/"+name, "1")
			}
			w.wait()
			f := newFeed(w.state, slog.New(slog.DiscardHandler))
			h := &heard{enough: make(chan struct{})}
			f.listen(map[string]listener{"/registry/a/": h})
			run := f.start()
			w.put("/registry/a/changed", "2")
			w.put("/registry/a/changed", "3")
			w.remove("/registry/a/removed")
			w.remove("/registry/a/replaced")
			w.put("/registry/a/replaced", "2")
			w.put("/registry/a/short", "1")
			w.remove("/registry/a/short")
			w.put("/registry/a/added", "1")
			snapshot := w.wait()
			if missed {
				w.state.DropHistory(snapshot.Revision())
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				run(ctx)
			}()
			w.put("/registry/a/last", "1") // what comes after is told as ever
			select {
			case <-h.enough:
			case <-t.Context().Done():
			}
			cancel()
			<-done
			want := []string{
				"~ /registry/a/changed 1 2", "~ /registry/a/changed 2 3", "- /registry/a/removed 1", "- /registry/a/replaced 1",
				"+ /registry/a/replaced 2", "+ /registry/a/short 1", "- /registry/a/short 1", "+ /registry/a/added 1", "+ /registry/a/last 1",
			}
			if missed {
				want = []string{
					"~ /registry/a/changed 1 3", "- /registry/a/removed 1", "~ /registry/a/replaced 1 2", "+ /registry/a/added 1",
					"+ /registry/a/last 1",
				}
			}
			there := []string{"there /registry/a/changed", "there /registry/a/removed", "there /registry/a/replaced", "there /registry/a/same"}
			if !slices.Equal(h.told, append(there, want...)) {
				t.Errorf("it was told\n%s\nnot\n%s", strings.Join(h.told, "\n"), strings.Join(append(there, want...), "\n"))
			}
			if !slices.Equal(h.kept, want) {
				t.Errorf("it was told to keep\n%s", strings.Join(h.kept, "\n"))
			}
		})
	}
}

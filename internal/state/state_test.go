package state

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kayak-k8s/kayak/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Values in these tests are "NODE TEXT": the first word is the field "spec.nodeName"; "bad" cannot be parsed.
func podHeader(key string, value []byte) (Header, error) {
	node, _, _ := strings.Cut(string(value), " ")
	if node == "bad" {
		return Header{}, errors.New("bad value")
	}
	return Header{UID: "uid-" + key, Fields: Set{{"spec.nodeName", strings.Clone(node)}}}, nil
}

var (
	pods    = Family{Prefix: "/registry/pods/", Header: podHeader, Index: []string{"spec.nodeName"}}
	configs = Family{Prefix: "/registry/configmaps/", Header: podHeader}
	widgets = Family{Prefix: "/registry/example.com/widgets/", Header: podHeader, Index: []string{"spec.nodeName"}}
)

// start runs a state on a store until the test ends.
func start(t testing.TB, f *fakeStore, change ...func(*Options)) *State {
	t.Helper()
	options := Options{Store: f, Prefix: "/registry/", Families: []Family{pods, configs}, PageSize: 7}
	for _, c := range change {
		c(&options)
	}
	s := New(options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return s
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func synced(t testing.TB, s *State) *State {
	t.Helper()
	if err := s.WaitSynced(within(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func atLeast(t testing.TB, s *State, revision int64) *Snapshot {
	t.Helper()
	snapshot, err := s.AtLeast(within(t), revision)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func watch(t testing.TB, s *State, f Filter, after int64) *Cursor {
	t.Helper()
	c, err := s.Watch(f, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// sameContents fails unless the snapshot shows what the store held at its revision.
func sameContents(t testing.TB, f *fakeStore, s *Snapshot) {
	t.Helper()
	want := f.at("/registry/", s.Revision())
	var got []store.KV
	s.Ascend("", "", func(r *Record) bool {
		got = append(got, store.KV{Key: r.Key, Value: r.Value(), Revision: r.Revision})
		return true
	})
	if a, b := fmt.Sprint(got), fmt.Sprint(want); a != b {
		t.Fatalf("snapshot %d shows\n%s\nthe store held\n%s", s.Revision(), a, b)
	}
}

func pod(n int) string { return fmt.Sprintf("/registry/pods/ns%d/pod%03d", n%3, n) }

func TestLoadsInPagesAndFollows(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	for i := range 50 {
		f.put(pod(i), []byte("node1 x"))
	}
	f.put("/elsewhere", []byte("x"))
	f.put(pod(3), []byte("bad"))
	s := start(t, f)
	synced(t, s)
	first := s.Snapshot()
	sameContents(t, f, first)
	r := first.Get(pod(3))
	if r.Err() == nil || r.Header().UID != "" {
		t.Errorf("a value that cannot be parsed has header %v, error %v", r.Header(), r.Err())
	}
	if r := first.Get(pod(4)); r.Err() != nil || r.Header().Fields.Get("spec.nodeName") != "node1" {
		t.Errorf("header = %v, error %v", r.Header(), r.Err())
	}
	f.put(pod(4), nil)
	f.put(pod(77), []byte("node2 y"))
	later := atLeast(t, s, f.put("/elsewhere", []byte("y")))
	sameContents(t, f, later)
	sameContents(t, f, first)
}

// A store that hands over only so many bytes at a time is asked for smaller pages, and for larger ones again after the large
// values.
func TestLoadsWhatIsTooLargeForOnePage(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	f.maxPage = 3000
	for i := range 40 {
		size := 10
		if i >= 10 && i < 20 {
			size = 2000
		}
		f.put(pod(i), append([]byte("node1 "), make([]byte, size)...))
	}
	var limits []int64
	f.onRange = func(o store.RangeOptions) { limits = append(limits, o.Limit) }
	s := start(t, f, func(o *Options) { o.PageSize = 16 })
	synced(t, s)
	sameContents(t, f, s.Snapshot())
	if least, last := slices.Min(limits), limits[len(limits)-1]; least != 1 || last <= 1 {
		t.Errorf("pages of %v keys were asked for", limits)
	}

	f = newFakeStore()
	f.maxPage = 3000
	f.put(pod(1), make([]byte, 4000))
	s = New(Options{Store: f, Prefix: "/registry/"})
	if err := s.load(within(t)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("with a value that does not fit: %v", err)
	}
}

func TestPagesOfTheLoadAreBounded(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore()})
	large := make([]byte, 1<<20)
	page := make([]store.KV, 100)
	for i := range page {
		page[i] = store.KV{Key: pod(i), Value: large}
	}
	if got := s.nextLimit(1000, page); got != 15 {
		t.Errorf("after values of 1 MiB, %d keys are asked for", got)
	}
	if got := s.nextLimit(15, []store.KV{{Key: "k", Value: []byte("v")}}); got != 30 {
		t.Errorf("after a small value, %d keys are asked for, want twice as many as before", got)
	}
}

func TestEmptyBeforeTheFirstLoad(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/"})
	if s.Snapshot().Revision() != 0 || s.Snapshot().Get("x") != nil || s.Snapshot().Count("", "") != 0 || s.Synced() {
		t.Error("a new state is not empty")
	}
	var future *FutureError
	if _, err := s.At(5); !errors.As(err, &future) || future.Asked != 5 || future.Current != 0 {
		t.Errorf("At(5) = %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.AtLeast(ctx, 1); !errors.As(err, &future) {
		t.Errorf("AtLeast = %v", err)
	}
}

func TestLoadStartsOverWhenItsRevisionIsCompacted(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	for i := range 30 {
		f.put(pod(i), []byte("a"))
	}
	times := 0
	f.onRange = func(o store.RangeOptions) {
		if o.From != "" && times < 3 {
			times++
			f.put(pod(times), []byte("b"))
			f.compactAll()
		}
	}
	s := synced(t, start(t, f))
	sameContents(t, f, s.Snapshot())
	if times != 3 {
		t.Errorf("compacted %d times, want 3", times)
	}
}

func TestGoesOnWhereItWasWhenTheWatchBreaks(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	s := synced(t, start(t, f))
	c := watch(t, s, Filter{Prefix: pods.Prefix}, s.Snapshot().Revision())
	floor := s.Floor()
	for i := range 20 {
		f.put(pod(i), []byte("a"))
		f.breakWatches()
	}
	atLeast(t, s, f.revision)
	for i := 0; i < 20; {
		events, _, err := c.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Record.Key != pod(i) {
				t.Fatalf("event %d is of %s", i, e.Record.Key)
			}
			i++
		}
	}
	if s.Floor() != floor {
		t.Error("the history was lost")
	}
}

func TestResyncAfterCompaction(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	for i := range 100 {
		f.put(pod(i), []byte("a"))
	}
	s := synced(t, start(t, f))
	f.put(pod(7), []byte("b"))
	before := atLeast(t, s, f.revision)
	whole := watch(t, s, Filter{Prefix: pods.Prefix}, before.Revision())
	topical := watch(t, s, Filter{Prefix: pods.Prefix, Field: "spec.nodeName", Value: "a"}, before.Revision())
	encode := func() ([]byte, error) { return []byte("0123456789"), nil }
	for _, i := range []int{1, 2} {
		if _, err := before.Get(pod(i)).Encoding("id", encode); err != nil {
			t.Fatal(err)
		}
	}

	f.setDown(store.ErrUnavailable)
	missed := f.put(pod(1), []byte("c"))
	f.put(pod(50), nil)
	f.put(pod(60), []byte("a")) // the same value, at a new revision
	f.compactAll()
	f.compacted++ // also what comes next
	f.put(pod(101), []byte("d"))
	f.setDown(nil)

	after := atLeast(t, s, missed+3)
	sameContents(t, f, after)
	sameContents(t, f, before)
	if after.Get(pod(2)) != before.Get(pod(2)) {
		t.Error("an unchanged record was not kept")
	}
	for name, c := range map[string]*Cursor{"whole": whole, "topical": topical} {
		if _, _, err := c.Next(within(t)); !errors.Is(err, ErrExpired) {
			t.Errorf("%s cursor: %v, want ErrExpired", name, err)
		}
		if whole.log.at(0) != nil {
			t.Errorf("the %s cursor keeps events alive", name)
		}
	}
	if _, err := s.At(before.Revision()); !errors.Is(err, ErrExpired) {
		t.Errorf("At(%d) = %v, want ErrExpired", before.Revision(), err)
	}
	if _, err := s.Watch(Filter{Prefix: pods.Prefix}, before.Revision()); !errors.Is(err, ErrExpired) {
		t.Errorf("Watch = %v, want ErrExpired", err)
	}
	if stats := s.Stats(); stats.Encodings != 1 || stats.HistoryBytes != 0 || stats.Events != 0 {
		t.Errorf("after the resync: %+v, want one encoding and no history", stats)
	}
	synced(t, s)
	c := watch(t, s, Filter{Prefix: pods.Prefix}, s.Snapshot().Revision())
	f.put(pod(9), []byte("z"))
	if events, _, err := c.Next(within(t)); err != nil || len(events) != 1 {
		t.Errorf("after the resync: %v, %v", events, err)
	}
}

// TestRepeatedEventsAreLeftOut: a watch that begins a little early must not make history twice.
func TestRepeatedEventsAreLeftOut(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix}, 1)
	batch := store.Batch{Revision: 3, Events: []store.Event{
		{Key: pod(1), Value: []byte("a"), Revision: 2}, {Key: pod(2), Value: []byte("a"), Revision: 3},
	}}
	s.apply(batch)
	s.apply(batch)
	s.apply(store.Batch{Revision: 2})
	if events, revision, err := c.TryNext(); len(events) != 2 || revision != 3 || err != nil {
		t.Errorf("%d events up to %d, %v", len(events), revision, err)
	}
	if s.Snapshot().Revision() != 3 {
		t.Errorf("at revision %d, want 3", s.Snapshot().Revision())
	}
}

// TestResyncWhenTheStoreWentBack: a store that was restored from a backup must not be mixed with what was read before.
func TestResyncWhenTheStoreWentBack(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	f.put(pod(1), []byte("a"))
	backup := f.put(pod(2), []byte("a"))
	f.put(pod(2), []byte("lost"))
	f.put(pod(3), []byte("lost"))
	s := synced(t, start(t, f))
	c := watch(t, s, Filter{Prefix: pods.Prefix}, s.Snapshot().Revision())
	f.do(func() {
		f.events = f.events[:2]
		f.revision = backup
		f.broken++
	})
	if _, _, err := c.Next(within(t)); !errors.Is(err, ErrExpired) {
		t.Fatalf("cursor: %v, want ErrExpired", err)
	}
	snapshot, err := s.Consistent(within(t))
	for err == nil && snapshot.Revision() != backup {
		snapshot, err = s.Consistent(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	sameContents(t, f, snapshot)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	f.setDown(store.ErrUnavailable)
	s := start(t, f)
	if _, err := s.Consistent(within(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Consistent = %v, want ErrUnavailable", err)
	}
	if s.Synced() {
		t.Error("synced without a store")
	}
	f.setDown(nil)
	synced(t, s)
	f.setDown(store.ErrUnavailable)
	for s.Synced() {
		<-s.synced.changed.wait()
	}
	if _, err := s.Consistent(within(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Consistent = %v, want ErrUnavailable", err)
	}
	f.setDown(nil)
	synced(t, s)

	// A watch that stands but says nothing: not synced before it has delivered what the store had when it was begun.
	f.pause(true)
	f.put(pod(1), []byte("a"))
	f.breakWatches()
	for s.Synced() {
		<-s.synced.changed.wait()
	}
	asked := f.questions.Load()
	for f.questions.Load() == asked {
		runtime.Gosched() // until the new watch is begun and the store was asked how far it must come
	}
	if s.Synced() {
		t.Error("synced without the newest change")
	}
	f.pause(false)
	synced(t, s)
	sameContents(t, f, s.Snapshot())
}

func TestRunIsForOnce(t *testing.T) {
	t.Parallel()
	s := synced(t, start(t, newFakeStore()))
	if err := s.Run(context.Background()); err == nil {
		t.Error("a second Run was not refused")
	}
}

func TestConsistentAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := s.Consistent(within(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Consistent = %v, want ErrUnavailable", err)
	}
}

func TestFamiliesComeAndGo(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	key := func(n int) string { return fmt.Sprintf("/registry/example.com/widgets/ns/w%d", n) }
	f.put(key(1), []byte("n1 a"))
	s := synced(t, start(t, f))
	loaded := s.Snapshot().Revision()
	f.put(key(1), []byte("n2 a"))
	f.put(key(2), []byte("n2 b"))
	atLeast(t, s, f.put(key(2), nil))
	if _, err := s.Watch(Filter{Prefix: widgets.Prefix}, loaded); !errors.Is(err, ErrNoFamily) {
		t.Fatalf("Watch = %v, want ErrNoFamily", err)
	}
	if h := s.Snapshot().Get(key(1)).Header(); h.UID != "" {
		t.Errorf("header without a family: %v", h)
	}

	s.AddFamily(widgets)
	if h := s.Snapshot().Get(key(1)).Header(); h.UID != "uid-"+key(1) {
		t.Errorf("header after AddFamily: %v", h)
	}
	c := watch(t, s, Filter{Prefix: widgets.Prefix, Field: "spec.nodeName", Value: "n1"}, loaded)
	events, _, err := c.TryNext()
	if err != nil || len(events) != 1 || events[0].Previous.Header().Fields.Get("spec.nodeName") != "n1" {
		t.Errorf("events kept from before the family came: %v, %v", events, err)
	}
	all := watch(t, s, Filter{Prefix: widgets.Prefix}, loaded)
	if events, _, err := all.TryNext(); err != nil || len(events) != 3 {
		t.Errorf("all events: %v, %v", events, err)
	}

	s.RemoveFamily(widgets.Prefix)
	s.RemoveFamily(widgets.Prefix)
	for _, c := range []*Cursor{c, all} {
		if _, _, err := c.Next(within(t)); !errors.Is(err, ErrExpired) {
			t.Errorf("cursor of a family that went: %v", err)
		}
	}
	atLeast(t, s, f.put(key(3), []byte("n3 c")))
	s.AddFamily(widgets)
	if h := s.Snapshot().Get(key(3)).Header(); h.Fields.Get("spec.nodeName") != "n3" {
		t.Errorf("header after the family came back: %v", h)
	}
}

// TestFamilyComesDuringLoad: records that were parsed before the family came get their headers when the load is done.
func TestFamilyComesDuringLoad(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	for i := range 20 {
		f.put(fmt.Sprintf("/registry/example.com/widgets/ns/w%02d", i), []byte("n1 a"))
	}
	states := make(chan *State, 1)
	added := false
	f.onRange = func(o store.RangeOptions) {
		if o.From > widgets.Prefix && !added {
			added = true
			(<-states).AddFamily(widgets)
		}
	}
	s := start(t, f)
	states <- s
	synced(t, s)
	s.Snapshot().Ascend(widgets.Prefix, "", func(r *Record) bool {
		if r.Header().UID == "" {
			t.Errorf("%s has no header", r.Key)
		}
		return true
	})
	if !added {
		t.Error("the load had one page only")
	}
}

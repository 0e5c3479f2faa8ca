package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/store"
)

// fact is what a test keeps of an event.
type fact struct {
	revision      int64
	key           string
	value, before string // "" when there is none
}

func (x fact) String() string {
	return fmt.Sprintf("%d %s %q->%q", x.revision, x.key, x.before, x.value)
}

func nodeOf(value string) string { n, _, _ := strings.Cut(value, " "); return n }

func (x fact) matches(f Filter) bool {
	if f.Exact && x.key != f.Prefix || !strings.HasPrefix(x.key, f.Prefix) {
		return false
	}
	// Only pods and configmaps have headers.
	return f.Field == "" || x.value != "" && nodeOf(x.value) == f.Value || x.before != "" && nodeOf(x.before) == f.Value
}

// factOf turns an event into a fact, and checks what the fact does not hold.
func factOf(t interface{ Fatalf(string, ...any) }, e *Event) fact {
	x := fact{revision: e.Revision, key: e.Record.Key}
	if e.Record.Revision != e.Revision {
		t.Fatalf("event %d has a record of revision %d", e.Revision, e.Record.Revision)
	}
	if e.Previous != nil {
		x.before = string(e.Previous.Value())
	}
	if e.Deleted {
		if e.Previous == nil || string(e.Record.Value()) != x.before || e.Record == e.Previous {
			t.Fatalf("the record of a deletion is %v, of %v", e.Record, e.Previous)
		}
		return x
	}
	x.value = string(e.Record.Value())
	return x
}

// historyModel drives a State directly and remembers everything.
type historyModel struct {
	s        *State
	revision int64
	contents map[string]string
	facts    []fact
	lists    map[int64][]string // what At must show
	cursors  []*modelCursor
}

type modelCursor struct {
	*Cursor
	after int64 // everything up to here was seen
}

func newHistoryModel(t *rapid.T) *historyModel {
	m := &historyModel{contents: map[string]string{}, lists: map[int64][]string{}}
	m.s = New(Options{
		Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods, configs},
		HistoryBytes: int64(rapid.SampledFrom([]int{1, 5_000, 40_000, 1 << 30}).Draw(t, "historyBytes")),
	})
	m.revision = 10
	m.s.install(nil, m.revision, m.s.families.Load())
	m.lists[m.revision] = m.list()
	return m
}

func (m *historyModel) list() []string {
	out := []string{}
	for k, v := range m.contents {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

var modelKeyGen = rapid.Custom(func(t *rapid.T) string {
	kind := rapid.SampledFrom([]string{"pods", "pods", "pods", "configmaps", "others"}).Draw(t, "kind")
	return fmt.Sprintf("/registry/%s/ns%d/n%d", kind, rapid.IntRange(0, 2).Draw(t, "ns"), rapid.IntRange(0, 20).Draw(t, "n"))
})

// write applies one batch of random revisions, sometimes a large one.
func (m *historyModel) write(t *rapid.T) {
	batch := store.Batch{}
	revisions := rapid.SampledFrom([]int{0, 1, 1, 2, 5, 500}).Draw(t, "revisions")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	kinds := []string{"pods", "pods", "pods", "configmaps", "others"}
	for range revisions {
		m.revision += 1 + random.Int64N(3)
		keys := map[string]bool{}
		for range 1 + random.IntN(3) {
			keys[fmt.Sprintf("/registry/%s/ns%d/n%d", kinds[random.IntN(5)], random.IntN(3), random.IntN(21))] = true
		}
		for key := range keys {
			e := store.Event{Key: key, Revision: m.revision}
			before := m.contents[key]
			if random.IntN(4) > 0 {
				e.Value = fmt.Appendf(nil, "node%d %d", random.IntN(4), m.revision)
				m.contents[key] = string(e.Value)
			} else {
				delete(m.contents, key)
			}
			batch.Events = append(batch.Events, e)
			if before != "" || e.Value != nil {
				m.facts = append(m.facts, fact{m.revision, key, string(e.Value), before})
			}
		}
		if revisions < 10 || random.IntN(50) == 0 {
			m.lists[m.revision] = m.list()
		}
	}
	m.revision += int64(rapid.IntRange(0, 1).Draw(t, "progress"))
	m.lists[m.revision] = m.list()
	batch.Revision = m.revision
	m.s.apply(batch)
}

func (m *historyModel) open(t *rapid.T) {
	f := Filter{Prefix: rapid.SampledFrom([]string{
		"/registry/pods/", "/registry/pods/ns1/", "/registry/pods/ns1/n1", "/registry/configmaps/", "/registry/configmaps/ns0/",
	}).Draw(t, "prefix")}
	if rapid.IntRange(0, 3).Draw(t, "exact") == 0 {
		inFamily := func(key string) bool { return !strings.Contains(key, "others") }
		f = Filter{Prefix: modelKeyGen.Filter(inFamily).Draw(t, "key"), Exact: true}
	}
	if rapid.Bool().Draw(t, "byField") {
		f.Field, f.Value = "spec.nodeName", rapid.SampledFrom([]string{"node0", "node1", "node2"}).Draw(t, "value")
	}
	after := m.s.Floor() + int64(rapid.IntRange(-2, int(m.revision-m.s.Floor())+3).Draw(t, "after"))
	c, err := m.s.Watch(f, after)
	if after < m.s.Floor() {
		if !errors.Is(err, ErrExpired) {
			t.Fatalf("Watch after %d with floor %d: %v", after, m.s.Floor(), err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Watch(%+v, %d): %v", f, after, err)
	}
	m.cursors = append(m.cursors, &modelCursor{c, after})
}

// step lets one cursor read once and compares with everything that happened. It reports whether the cursor lives on.
func (m *historyModel) step(t *rapid.T, c *modelCursor) bool {
	floor := m.s.Floor()
	events, revision, err := c.TryNext()
	if err != nil {
		if !errors.Is(err, ErrExpired) || c.after >= floor {
			t.Fatalf("cursor after %d with floor %d: %v", c.after, floor, err)
		}
		return false
	}
	if len(events) > eventsPerCall+3 || revision < c.after || revision > max(m.revision, c.after) {
		t.Fatalf("%d events up to %d, after %d", len(events), revision, c.after)
	}
	var got, want []string
	for _, e := range events {
		got = append(got, factOf(t, e).String())
	}
	for _, x := range m.facts {
		if x.revision > c.after && x.revision <= revision && x.matches(c.filter) {
			want = append(want, x.String())
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("cursor %+v in (%d, %d]: got %v, want %v", c.filter, c.after, revision, got, want)
	}
	if len(events) < eventsPerCall && revision < m.revision {
		t.Fatalf("cursor stopped at %d of %d after %d events", revision, m.revision, len(events))
	}
	c.after = revision
	return true
}

func (m *historyModel) checkSnapshots(t *rapid.T) {
	floor := m.s.Floor()
	for revision, want := range m.lists {
		s, err := m.s.At(revision)
		if revision < floor {
			if !errors.Is(err, ErrExpired) {
				t.Fatalf("At(%d) with floor %d: %v", revision, floor, err)
			}
			continue
		}
		if err != nil || s.Revision() != revision {
			t.Fatalf("At(%d) with floor %d: %v", revision, floor, err)
		}
		got := []string{}
		s.Ascend("", "", func(r *Record) bool { got = append(got, r.Key+"="+string(r.Value())); return true })
		slices.Sort(got) // as list does, which is not by key alone
		if !slices.Equal(got, want) {
			t.Fatalf("At(%d) shows %v, want %v", revision, got, want)
		}
	}
}

// checkAccounts compares the bookkeeping of the history with what is really there.
func (m *historyModel) checkAccounts(t *rapid.T) {
	s := m.s
	if s.writing.historyBytes > s.options.HistoryBytes && s.writing.commits.len() > 1 {
		t.Fatalf("history of %d bytes", s.writing.historyBytes)
	}
	commits := s.writing.commits
	var bytes int64
	perFamily := map[string]int{}
	for i := commits.first.Load(); i < commits.next.Load(); i++ {
		c := commits.at(i)
		bytes += c.bytes
		for _, e := range c.events {
			if f := s.families.Load().of(e.Record.Key); f != nil {
				perFamily[f.Prefix]++
			}
		}
	}
	if bytes != s.writing.historyBytes {
		t.Fatalf("historyBytes = %d, the commits have %d", s.writing.historyBytes, bytes)
	}
	for prefix, f := range *s.families.Load() {
		if f.log.len() != perFamily[prefix] {
			t.Fatalf("log of %s has %d events, want %d", prefix, f.log.len(), perFamily[prefix])
		}
		slots := 0
		if table := f.log.table.Load(); table != nil {
			for _, c := range table.chunks {
				for i := range c {
					if c[i].Load() != nil {
						slots++
					}
				}
			}
		}
		if slots != f.log.len() {
			t.Fatalf("log of %s keeps %d events alive, want %d", prefix, slots, f.log.len())
		}
	}
}

// TestCursorsSeeHistoryExactly writes, watches with all kinds of filters, and reads old snapshots, in any interleaving.
func TestCursorsSeeHistoryExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newHistoryModel(t)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"write", "write", "open", "step", "step", "all", "close"}).Draw(t, "do") {
			case "write":
				m.write(t)
			case "open":
				m.open(t)
			case "step":
				if len(m.cursors) > 0 {
					i := rapid.IntRange(0, len(m.cursors)-1).Draw(t, "cursor")
					m.stepOrDrop(t, i)
				}
			case "all":
				for i := len(m.cursors) - 1; i >= 0; i-- {
					m.stepOrDrop(t, i)
				}
			case "close":
				if n := len(m.cursors); n > 0 {
					m.cursors[n-1].Close()
					m.cursors = m.cursors[:n-1]
				}
			}
		}
		m.checkSnapshots(t)
		m.checkAccounts(t)
		for _, c := range m.cursors {
			c.Close()
			c.Close()
		}
		for _, f := range *m.s.families.Load() {
			n := len(f.byKey) + len(f.byPrefix)
			for _, topics := range f.byField {
				n += len(topics)
			}
			if n != 0 {
				t.Fatalf("%d topics are left without cursors", n)
			}
		}
	})
}

func (m *historyModel) stepOrDrop(t *rapid.T, i int) {
	if !m.step(t, m.cursors[i]) {
		m.cursors[i].Close()
		m.cursors = slices.Delete(m.cursors, i, i+1)
	}
}

// TestStalledCursorPinsNothing: what a cursor that does not read keeps alive is bounded by the history, not by the cursor.
func TestStalledCursorPinsNothing(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}, HistoryBytes: 100_000})
	s.install(nil, 1, s.families.Load())
	for name, f := range map[string]Filter{
		"family": {Prefix: pods.Prefix}, "namespace": {Prefix: pods.Prefix + "ns0/"}, "name": {Prefix: pod(0), Exact: true},
		"node": {Prefix: pods.Prefix, Field: "spec.nodeName", Value: "a"},
	} {
		stalled := watch(t, s, f, 1)
		revision := s.Snapshot().Revision()
		value := append([]byte("a "), make([]byte, 1000)...)
		for range 5000 {
			revision++
			s.apply(store.Batch{Events: []store.Event{{Key: pod(0), Value: value, Revision: revision}}, Revision: revision})
		}
		stats := s.Stats()
		if stats.HistoryBytes > 100_000 || stats.Events > 100 || stats.Events < 20 {
			t.Errorf("%s: the history has %+v", name, stats)
		}
		l := stalled.log
		if stalled.topic != nil {
			l = &stalled.topic.log
		}
		if l.len() != stats.Events || len(l.table.Load().chunks) > 3 {
			t.Errorf("%s: the log has %d events in %d chunks, want %d", name, l.len(), len(l.table.Load().chunks), stats.Events)
		}
		if _, _, err := stalled.TryNext(); !errors.Is(err, ErrExpired) {
			t.Errorf("%s: the stalled cursor got %v", name, err)
		}
		stalled.Close()
		// The next round starts where watching is possible.
		s.install(nil, 1, s.families.Load())
	}
}

func TestNextDoesNotTearRevisions(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix}, 1)
	batch := store.Batch{Revision: 200}
	for revision := int64(2); revision <= 14; revision++ {
		for i := range 3 {
			batch.Events = append(batch.Events, store.Event{Key: pod(i), Value: []byte("a"), Revision: revision})
		}
	}
	s.apply(batch)
	for _, want := range []struct {
		events   int
		revision int64
	}{{18, 7}, {18, 13}, {3, 200}, {0, 200}} {
		if events, revision, err := c.TryNext(); len(events) != want.events || revision != want.revision || err != nil {
			t.Errorf("%d events up to %d, %v; want %d up to %d", len(events), revision, err, want.events, want.revision)
		}
	}
}

// TestCursorIsNotAheadOfTheSnapshot: what is in the log but not published yet is not there.
func TestCursorIsNotAheadOfTheSnapshot(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix}, 1)
	s.mu.Lock()
	arrived, _ := s.arrivals([]store.Event{{Key: pod(1), Value: []byte("a"), Revision: 2}})
	s.commit(arrived)
	wait := c.Wait()
	if events, revision, err := c.TryNext(); len(events) != 0 || revision != 1 || err != nil || wait == s.always {
		t.Errorf("before: %d events up to %d, %v", len(events), revision, err)
	}
	s.publish(2)
	s.mu.Unlock()
	<-wait
	if events, revision, err := c.TryNext(); len(events) != 1 || revision != 2 || err != nil {
		t.Errorf("after: %d events up to %d, %v", len(events), revision, err)
	}
}

func TestIdleCursorKeepsNothingAlive(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix}, 1)
	s.apply(store.Batch{Events: []store.Event{{Key: pod(0), Value: []byte("a"), Revision: 2}}, Revision: 2})
	if events, revision, err := c.TryNext(); len(events) != 1 || revision != 2 || err != nil {
		t.Fatal(events, revision, err)
	}
	if events, revision, err := c.TryNext(); len(events) != 0 || revision != 2 || err != nil {
		t.Fatal(events, revision, err)
	}
	for _, e := range c.buffer[:cap(c.buffer)] {
		if e != nil {
			t.Error("the buffer keeps an event alive")
		}
	}
}

// TestOtherTopicsCostNothing: a cursor with an indexed field is neither woken nor given places for other values' events.
func TestOtherTopicsCostNothing(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix, Field: "spec.nodeName", Value: "mine"}, 1)
	wait := c.Wait()
	s.apply(store.Batch{Events: []store.Event{{Key: pod(0), Value: []byte("other"), Revision: 2}}, Revision: 2})
	select {
	case <-wait:
		t.Error("woken by another node's event")
	default:
	}
	if c.topic.log.len() != 0 {
		t.Error("another node's event is in the topic")
	}
	s.apply(store.Batch{Events: []store.Event{{Key: pod(0), Value: []byte("mine"), Revision: 3}}, Revision: 3})
	<-wait
	<-c.Wait()
	if events, revision, err := c.TryNext(); len(events) != 1 || revision != 3 || err != nil {
		t.Error(events, revision, err)
	}
}

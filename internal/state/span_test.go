package state

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/store"
)

func frameLine(b, item []byte) ([]byte, int) { return append(append(b, item...), '\n'), len(b) }

func encodeUpper(r *Record) ([]byte, error) { return bytes.ToUpper(r.Value()), nil }

// joinAll joins what a snapshot has under a prefix, span by span, with what spans keep and without.
func joinAll(t rapid.TB, s *Snapshot, scope, prefix, from string) (joined string, spans int) {
	var out strings.Builder
	s.Spans(scope, prefix, from, func(span Span) bool {
		spans++
		if len(span.Records) == 0 {
			t.Fatal("an empty span")
		}
		b, err := span.Joined("upper", encodeUpper, frameLine)
		if err != nil {
			t.Fatal(err)
		}
		n, err := span.Encoding("count", func(Former) ([]byte, error) { return fmt.Append(nil, len(span.Records)), nil })
		if err != nil || string(n) != fmt.Sprint(len(span.Records)) {
			t.Fatalf("%s records, want %d: %v", n, len(span.Records), err)
		}
		out.Write(b)
		return true
	})
	return out.String(), spans
}

// TestSpans: whatever changes, and whatever is kept of what, the joined encodings of any range in any snapshot are those of
// its records; single records have the same bytes; and the budget holds.
func TestSpans(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := New(Options{
			Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}, EncodingBytes: rapid.SampledFrom([]int64{5_000, 100_000}).Draw(t, "budget"),
		})
		s.install(nil, 1, s.families.Load())
		key := func() string {
			kind := rapid.SampledFrom([]string{"a", "pods", "z"}).Draw(t, "kind")
			return fmt.Sprintf("/registry/%s/ns%d/%d", kind, rapid.IntRange(0, 3).Draw(t, "ns"), rapid.IntRange(0, 60).Draw(t, "name"))
		}
		snapshots := []*Snapshot{s.Snapshot()}
		revision := int64(1)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.IntRange(1, 40).Draw(t, "changes") {
				revision++
				e := store.Event{Key: key(), Revision: revision}
				if rapid.IntRange(0, 4).Draw(t, "delete") > 0 {
					e.Value = fmt.Appendf(nil, "v%d of %s", revision, e.Key)
				}
				s.apply(store.Batch{Events: []store.Event{e}, Revision: revision})
			}
			snapshots = append(snapshots, s.Snapshot())
			snapshot := rapid.SampledFrom(snapshots).Draw(t, "snapshot")
			prefix := rapid.SampledFrom([]string{"/registry/pods/", "/registry/pods/ns1/", "/registry/pods/ns1/3"}).Draw(t, "prefix")
			from := ""
			if rapid.Bool().Draw(t, "from") {
				from = key()
			}
			var want strings.Builder
			snapshot.Ascend(prefix, from, func(r *Record) bool {
				want.WriteString(strings.ToUpper(string(r.Value())) + "\n")
				return true
			})
			if got, _ := joinAll(t, snapshot, "/registry/pods/", prefix, from); got != want.String() {
				t.Fatalf("got\n%s\nwant\n%s", got, want.String())
			}
			checkSnapshot(t, s, snapshot)
		}
	})
}

func checkSnapshot(t *rapid.T, s *State, snapshot *Snapshot) {
	snapshot.Ascend("/registry/", "", func(r *Record) bool {
		want := strings.ToUpper(string(r.Value()))
		if kept := r.Kept("upper"); kept != nil && string(kept) != want {
			t.Fatalf("kept %q of %s, want %q", kept, r.Key, want)
		}
		return true
	})
	used := int64(0)
	for i, e := range s.encodings.clock {
		used += e.cost()
		listed := 0
		for _, r := range e.records {
			if list := r.encodings.Load(); list != nil && slices.Contains(*list, e) {
				listed++
			}
		}
		if e.position != i || listed != e.listed || listed == 0 {
			t.Fatalf("encoding %d is at %d, in %d lists, not %d", i, e.position, listed, e.listed)
		}
	}
	if used != s.encodings.used || used > s.encodings.budget {
		t.Fatalf("used %d, counted %d, budget %d", s.encodings.used, used, s.encodings.budget)
	}
}

// TestSpansShare: what a span has joined is made once, takes the place of what its records had, and after a change is made of
// what is there, for one record anew.
func TestSpansShare(t *testing.T) {
	t.Parallel()
	s, keys := loaded(t, 1000)
	made := 0
	encode := func(r *Record) ([]byte, error) { made++; return bytes.ToUpper(r.Value()), nil }
	list := func() (spans int) {
		s.Snapshot().Spans(pods.Prefix, pods.Prefix, "", func(span Span) bool {
			spans++
			if _, err := span.Joined("upper", encode, frameLine); err != nil {
				t.Error(err)
			}
			return true
		})
		return spans
	}
	spans := list()
	if made != len(keys) || s.Stats().Encodings != spans {
		t.Errorf("made %d encodings, %d are kept, want %d and %d", made, s.Stats().Encodings, len(keys), spans)
	}
	for _, key := range keys {
		_, _ = s.Snapshot().Get(key).Encoding("upper", func() ([]byte, error) { made++; return nil, nil })
	}
	s.apply(store.Batch{Events: []store.Event{{Key: keys[500], Value: []byte("node1 new"), Revision: 2}}, Revision: 2})
	list()
	if made != len(keys)+1 || s.Stats().Encodings != spans {
		t.Errorf("after a change: made %d encodings, %d are kept", made, s.Stats().Encodings)
	}
}

func loaded(t *testing.T, n int) (*State, []string) {
	t.Helper()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	records, keys := make([]*Record, n), make([]string, n)
	for i := range n {
		keys[i] = fmt.Sprintf("/registry/pods/ns%02d/pod-%07d", i*10/n, i)
		records[i] = s.newRecord(*s.families.Load(), store.KV{Key: keys[i], Value: []byte("node1 of " + keys[i]), Revision: 1})
	}
	s.install(records, 1, s.families.Load())
	return s, keys
}

// TestSpansConcurrently reads lists and records while changes are applied and the budget is far too small.
func TestSpansConcurrently(t *testing.T) {
	t.Parallel()
	s, keys := loaded(t, 500)
	s.encodings.budget = 20_000
	var all sync.WaitGroup
	for g := range 6 {
		all.Go(func() {
			for i := range 40 {
				snapshot := s.Snapshot()
				var want strings.Builder
				snapshot.Ascend(pods.Prefix, "", func(r *Record) bool {
					want.WriteString(strings.ToUpper(string(r.Value())) + "\n")
					return true
				})
				if got, _ := joinAll(t, snapshot, pods.Prefix, pods.Prefix, ""); got != want.String() {
					t.Errorf("reader %d, turn %d: a list is not what its records are", g, i)
				}
				r := snapshot.Get(keys[(g*97+i*31)%len(keys)])
				if b, err := r.Encoding("upper", func() ([]byte, error) { return encodeUpper(r) }); string(b) != strings.ToUpper(string(r.Value())) {
					t.Errorf("%s is %q, %v", r.Key, b, err)
				}
			}
		})
	}
	for revision := int64(2); revision < 400; revision++ {
		s.apply(store.Batch{Events: []store.Event{{
			Key: keys[int(revision*7919)%len(keys)], Value: fmt.Appendf(nil, "node1 %d", revision), Revision: revision,
		}}, Revision: revision})
	}
	all.Wait()
	rapid.Check(t, func(t *rapid.T) { checkSnapshot(t, s, s.Snapshot()) })
}

// TestFormer: who encodes a span again is told what there was before it changed.
func TestFormer(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}, EncodingBytes: 100_000})
	s.install(nil, 1, s.families.Load())
	revision := int64(1)
	put := func(name, value string) {
		revision++
		e := store.Event{Key: "/registry/pods/default/" + name, Revision: revision, Value: []byte(value)}
		s.apply(store.Batch{Events: []store.Event{e}, Revision: revision})
	}
	var formers []Former
	values := func(snapshot *Snapshot, prefix string) string {
		var got []byte
		snapshot.Spans("/registry/pods/", prefix, "", func(span Span) bool {
			b, err := span.Encoding("values", func(former Former) (b []byte, err error) {
				formers = append(formers, former)
				for _, r := range span.Records {
					b = append(b, r.Value()...)
				}
				return b, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
			return true
		})
		return string(got)
	}
	put("a", "1")
	put("b", "2")
	before := s.Snapshot()
	for range 2 {
		if got := values(before, "/registry/pods/"); got != "12" {
			t.Fatalf("got %s", got)
		}
	}
	put("b", "3")
	for range 2 {
		if got := values(s.Snapshot(), "/registry/pods/"); got != "13" {
			t.Fatalf("got %s", got)
		}
	}
	if got := values(s.Snapshot(), "/registry/pods/default/a"); got != "1" { // a part, which keeps nothing
		t.Fatalf("got %s", got)
	}
	if len(formers) != 3 || formers[0].Data != nil || string(formers[1].Data) != "12" || len(formers[1].Records) != 2 ||
		formers[1].Records[0] != s.Snapshot().Get("/registry/pods/default/a") || string(formers[2].Data) != "13" {
		t.Errorf("formerly there were %v", formers)
	}
}

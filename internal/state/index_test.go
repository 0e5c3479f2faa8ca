package state

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/store"
)

// byValue makes a header whose label and field "a" are the value, unless that is empty.
func byValue(_ string, value []byte) (Header, error) {
	if len(value) == 0 {
		return Header{}, nil
	}
	set := NewSet([]Pair{{"a", string(value)}, {"b", "same"}})
	return Header{Labels: set, Fields: set}, nil
}

// having returns what of a prefix meets a term: by index, and by looking at all. The first may be more, as callers know.
func having(s *Snapshot, scope, prefix, from string, term *Term) (found, all []string) {
	meets := func(r *Record) bool {
		set := r.Header().Labels
		if term.Field {
			set = r.Header().Fields
		}
		v, ok := set.Lookup(term.Key)
		return ok && slices.Contains(term.Values, v)
	}
	s.Spans(scope, prefix, from, func(span Span) bool {
		for r := range span.Having(term) {
			if meets(r) {
				found = append(found, r.Key)
			}
		}
		return true
	})
	s.Ascend(prefix, from, func(r *Record) bool {
		if meets(r) {
			all = append(all, r.Key)
		}
		return true
	})
	return found, all
}

// TestHaving: whatever changes, in objects and in how they are parsed, an index finds what there is to find, in any snapshot,
// from any place on.
func TestHaving(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := Family{Prefix: pods.Prefix, Header: byValue}
		s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{f}})
		s.install(nil, 1, s.families.Load())
		snapshots := []*Snapshot{s.Snapshot()}
		revision := int64(1)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			for range rapid.IntRange(1, 40).Draw(t, "changes") {
				revision++
				key := fmt.Sprintf("%sns%d/%d", f.Prefix, rapid.IntRange(0, 2).Draw(t, "ns"), rapid.IntRange(0, 60).Draw(t, "name"))
				e := store.Event{Key: key, Revision: revision, Value: []byte(rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "value"))}
				s.apply(store.Batch{Events: []store.Event{e}, Revision: revision})
			}
			snapshots = append(snapshots, s.Snapshot())
			if rapid.IntRange(0, 4).Draw(t, "parse anew") == 0 {
				other := rapid.SampledFrom([]string{"x", "other"}).Draw(t, "all are")
				f.Header = func(key string, value []byte) (Header, error) { return byValue(key, []byte(other)) }
				s.AddFamily(f)
			}
			term := &Term{
				Field: rapid.Bool().Draw(t, "field"), Key: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"),
				Values: rapid.SliceOfDistinct(rapid.SampledFrom([]string{"x", "y", "other", "none", "same"}), rapid.ID[string]).Draw(t, "values"),
			}
			prefix := f.Prefix + rapid.SampledFrom([]string{"", "ns1/"}).Draw(t, "prefix")
			from := rapid.SampledFrom([]string{"", f.Prefix + "ns1/3", f.Prefix + "ns2/"}).Draw(t, "from")
			found, all := having(rapid.SampledFrom(snapshots).Draw(t, "snapshot"), f.Prefix, prefix, from, term)
			if !slices.Equal(found, all) {
				t.Fatalf("%+v: found %v of %v", term, found, all)
			}
		}
	})
}

// TestHavingIsSelective: an index leaves out what does not meet the term, and there are no more of them than maxIndexes.
func TestHavingIsSelective(t *testing.T) {
	t.Parallel()
	f := Family{Prefix: pods.Prefix, Header: byValue}
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{f}})
	var records []*Record
	for i := range 40 {
		records = append(records, s.newRecord(*s.families.Load(), store.KV{Key: fmt.Sprintf("%sns/%02d", f.Prefix, i), Value: fmt.Append(nil, i%10)}))
	}
	s.install(records, 1, s.families.Load())
	count := func(term *Term) (n int) {
		s.Snapshot().Spans(f.Prefix, f.Prefix, "", func(span Span) bool {
			for range span.Having(term) {
				n++
			}
			return true
		})
		return n
	}
	for _, test := range []struct {
		term *Term
		want int
	}{
		{nil, 40}, {&Term{Key: "a", Values: []string{"3"}}, 4}, {&Term{Field: true, Key: "a", Values: []string{"3", "4"}}, 8},
		{&Term{Key: "b", Values: []string{"same"}}, 40}, {&Term{Key: "c", Values: []string{"x"}}, 0},
		{&Term{Key: "d", Values: []string{"x"}}, 40}, // one too many
		{&Term{Key: "a", Values: []string{"x"}}, 0},
	} {
		if got := count(test.term); got != test.want {
			t.Errorf("%+v: %d records, want %d", test.term, got, test.want)
		}
	}
}

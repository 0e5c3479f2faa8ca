package state

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kayak-k8s/kayak/internal/store"
)

func loadedState(b *testing.B, n, valueBytes int) (*State, []string) {
	b.Helper()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}})
	records, keys := make([]*Record, n), make([]string, n)
	value := append([]byte("node1 "), make([]byte, valueBytes)...)
	for i := range n {
		keys[i] = fmt.Sprintf("/registry/pods/ns%02d/pod-%07d", i*100/n, i)
		records[i] = s.newRecord(*s.families.Load(), store.KV{Key: keys[i], Value: value, Revision: 1})
	}
	s.install(records, 1, s.families.Load())
	return s, keys
}

// BenchmarkApply applies one update at a time, each at its own revision.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, keys := loadedState(b, n, 100)
			value := []byte("node1 and so on")
			revision := int64(1)
			b.ReportAllocs()
			for b.Loop() {
				revision++
				key := keys[int(revision*7919)%n]
				s.apply(store.Batch{Events: []store.Event{{Key: key, Value: value, Revision: revision}}, Revision: revision})
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s, keys := loadedState(b, 100_000, 100)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if s.Snapshot().Get(keys[i*7919%len(keys)]) == nil {
			b.Fatal("missing")
		}
	}
}

// BenchmarkAscend visits 10,000 records and looks at a field of each.
func BenchmarkAscend(b *testing.B) {
	s, keys := loadedState(b, 10_000, 100)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		s.Snapshot().Ascend(pods.Prefix, "", func(r *Record) bool {
			if r.Header().Fields.Get("spec.nodeName") == "node1" {
				n++
			}
			return true
		})
		if n != len(keys) {
			b.Fatal(n)
		}
	}
}

// BenchmarkHaving finds one record of 10,000 by a field.
func BenchmarkHaving(b *testing.B) {
	s, _ := loadedState(b, 10_000, 100)
	term := &Term{Field: true, Key: "spec.nodeName", Values: []string{"none"}}
	b.ReportAllocs()
	for b.Loop() {
		s.Snapshot().Spans(pods.Prefix, pods.Prefix, "", func(span Span) bool {
			for range span.Having(term) {
				b.Fatal("found")
			}
			return true
		})
	}
}

func BenchmarkCount(b *testing.B) {
	s, keys := loadedState(b, 100_000, 100)
	b.ReportAllocs()
	for b.Loop() {
		if s.Snapshot().Count(pods.Prefix, keys[50_000]) != 50_000 {
			b.Fatal("wrong")
		}
	}
}

// BenchmarkEncodingHit takes the ready bytes of 10,000 records.
func BenchmarkEncodingHit(b *testing.B) {
	s, _ := loadedState(b, 10_000, 100)
	encode := func() ([]byte, error) { return make([]byte, 100), nil }
	b.ReportAllocs()
	for b.Loop() {
		s.Snapshot().Ascend(pods.Prefix, "", func(r *Record) bool {
			_, _ = r.Encoding("v1/json", encode)
			return true
		})
	}
}

// BenchmarkFanOut writes one event and waits until all of 1,000 cursors of one kind have it.
func BenchmarkFanOut(b *testing.B) {
	benchmarkCursors(b, 1000, func(int) Filter { return Filter{Prefix: pods.Prefix} })
}

// BenchmarkIndexed writes one event that one of 1,000 cursors by node waits for.
func BenchmarkIndexed(b *testing.B) {
	benchmarkCursors(b, 1, func(i int) Filter {
		return Filter{Prefix: pods.Prefix, Field: "spec.nodeName", Value: fmt.Sprintf("node%d", i)}
	})
}

func benchmarkCursors(b *testing.B, receivers int, filter func(i int) Filter) {
	s, keys := loadedState(b, 10_000, 100)
	ctx := b.Context()
	var got, all sync.WaitGroup
	cursors := make([]*Cursor, 1000)
	for i := range cursors {
		c, err := s.Watch(filter(i), 1)
		if err != nil {
			b.Fatal(err)
		}
		cursors[i] = c
	}
	for _, c := range cursors {
		all.Go(func() {
			defer c.Close()
			for {
				events, _, err := c.Next(ctx)
				if err != nil {
					return
				}
				got.Add(-len(events))
			}
		})
	}
	values := make([][]byte, 1000)
	for i := range values {
		values[i] = fmt.Appendf(nil, "node%d x", i)
	}
	revision := int64(1)
	write := func(key string, value []byte) {
		revision++
		s.apply(store.Batch{Events: []store.Event{{Key: key, Value: value, Revision: revision}}, Revision: revision})
	}
	n := 0
	if receivers == 1 {
		// One pod on every node, so that an update concerns that node's cursor only.
		got.Add(2*1000 - 1) // to the new node's cursor and, but for one, to that of node1
		for i := range values {
			write(keys[i], values[i]) // all were on node1
		}
		got.Wait()
	}
	b.ReportAllocs()
	for b.Loop() {
		n++
		got.Add(receivers)
		write(keys[n%1000], values[n%1000])
		got.Wait()
	}
	b.StopTimer()
	for _, f := range *s.families.Load() {
		f.kill()
	}
	all.Wait()
}

package state

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/store"
)

func TestEncodingIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := &Record{Key: "k", cache: newEncodingCache(1 << 20)}
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			id := fmt.Sprint(i % 2)
			b, err := r.Encoding(id, func() ([]byte, error) { made.Add(1); return []byte("as " + id), nil })
			if err != nil || string(b) != "as "+id {
				t.Errorf("Encoding(%s) = %q, %v", id, b, err)
			}
		})
	}
	all.Wait()
	if made.Load() != 2 {
		t.Errorf("made %d times, want 2", made.Load())
	}
}

func TestEncodingFailureIsNotKept(t *testing.T) {
	t.Parallel()
	r := &Record{Key: "k", cache: newEncodingCache(1 << 20)}
	bad := errors.New("bad")
	if _, err := r.Encoding("id", func() ([]byte, error) { return nil, bad }); !errors.Is(err, bad) {
		t.Errorf("err = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = r.Encoding("id", func() ([]byte, error) { panic("encoder") })
	}()
	b, err := r.Encoding("id", func() ([]byte, error) { return []byte("good"), nil })
	if string(b) != "good" || err != nil {
		t.Errorf("after a failure and a panic: %q, %v", b, err)
	}
}

// checkCache fails unless the cache keeps its invariants; records are all there are.
func checkCache(t *rapid.T, c *encodingCache, records []*Record) {
	var used int64
	for i, e := range c.clock {
		used += e.cost()
		n := 0
		for _, r := range e.records {
			if lookup(r.encodings.Load(), e.id) == e {
				n++
			}
		}
		if e.position != i || n == 0 || n != e.listed {
			t.Fatalf("encoding %d is at %d, in the lists of %d records (%d)", i, e.position, n, e.listed)
		}
	}
	if used != c.used || used > c.budget {
		t.Fatalf("used = %d, the encodings have %d, the budget is %d", c.used, used, c.budget)
	}
	listed := 0
	for _, r := range records {
		if list := r.encodings.Load(); list != nil {
			listed += len(*list)
		}
	}
	kept := 0
	for _, e := range c.clock {
		kept += e.listed
	}
	if listed != kept {
		t.Fatalf("%d encodings in records, %d accounted for", listed, kept)
	}
}

// TestEncodingBudget: random uses and deaths never go over the budget, and nothing stays that is not accounted for.
func TestEncodingBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newEncodingCache(10_000)
		records := make([]*Record, 20)
		for i := range records {
			records[i] = &Record{Key: fmt.Sprint(i), cache: c}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(records)-1).Draw(t, "record")
			if rapid.IntRange(0, 9).Draw(t, "die") == 0 {
				c.release(records[i])
				if rapid.Bool().Draw(t, "replace") {
					records[i] = &Record{Key: fmt.Sprint(i), cache: c}
				}
			} else {
				size := rapid.SampledFrom([]int{0, 10, 500, 1000, 1200, 20_000}).Draw(t, "size")
				id := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "id"))
				var fail error
				if rapid.IntRange(0, 9).Draw(t, "fail") == 0 {
					fail = errors.New("failed")
				}
				_, _ = records[i].Encoding(id, func() ([]byte, error) { return make([]byte, size), fail })
			}
			checkCache(t, c, records)
		}
	})
}

// TestEncodingDropsTheColdest: what is asked for all the time stays while a scan passes through.
func TestEncodingDropsTheColdest(t *testing.T) {
	t.Parallel()
	c := newEncodingCache(100 * 1000)
	made := 0
	get := func(r *Record) {
		_, _ = r.Encoding("id", func() ([]byte, error) { made++; return make([]byte, 800), nil })
	}
	hot := &Record{Key: "hot", cache: c}
	get(hot)
	for i := range 10_000 {
		get(&Record{Key: fmt.Sprint(i), cache: c})
		if i%10 == 0 {
			get(hot)
		}
	}
	if made > 10_001+1 {
		t.Errorf("made %d encodings, the hot one was dropped %d times", made, made-10_001)
	}
}

// TestEncodingsDieWithTheirRecords: a record that was replaced keeps its encodings while its event can be watched, no longer.
func TestEncodingsDieWithTheirRecords(t *testing.T) {
	t.Parallel()
	s := New(Options{Store: newFakeStore(), Prefix: "/registry/", Families: []Family{pods}, HistoryBytes: 30_000})
	s.install(nil, 1, s.families.Load())
	c := watch(t, s, Filter{Prefix: pods.Prefix}, 1)
	var first *Record
	for revision := int64(2); revision < 1000; revision++ {
		e := store.Event{Key: pod(0), Value: make([]byte, 500), Revision: revision}
		if revision%5 == 0 {
			e.Value = nil
		}
		s.apply(store.Batch{Events: []store.Event{e}, Revision: revision})
		events, _, err := c.TryNext()
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		if first == nil {
			first = events[0].Record
		}
		_, _ = events[0].Record.Encoding("id", func() ([]byte, error) { return make([]byte, 100), nil })
	}
	stats := s.Stats()
	if stats.Encodings == 0 || stats.Encodings > stats.Events+1 || stats.Encodings < stats.Events-1 {
		t.Errorf("%+v: want about one encoding for an event", stats)
	}
	// Who still holds a dead record can encode it, but nothing is kept.
	b, err := first.Encoding("id", func() ([]byte, error) { return []byte("late"), nil })
	if string(b) != "late" || err != nil || s.Stats().Encodings != stats.Encodings {
		t.Errorf("a dead record: %q, %v, %+v", b, err, s.Stats())
	}
}

func TestEncodingOfARecordThatDiesMeanwhile(t *testing.T) {
	t.Parallel()
	c := newEncodingCache(10_000)
	r := &Record{Key: "k", cache: c}
	b, err := r.Encoding("id", func() ([]byte, error) { c.release(r); return []byte("bytes"), nil })
	if used, count := c.size(); string(b) != "bytes" || err != nil || used != 0 || count != 0 {
		t.Errorf("got %q, %v; %d encodings with %d bytes are kept", b, err, count, used)
	}
}

func TestEncodingConcurrently(t *testing.T) {
	t.Parallel()
	c := newEncodingCache(20_000)
	records := make([]*Record, 200)
	for i := range records {
		records[i] = &Record{Key: fmt.Sprint(i), cache: c}
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 4000 {
				r := records[(i*7+g*31)%len(records)]
				if i%97 == 0 && r.Key > "5" {
					c.release(r)
				}
				b, err := r.Encoding("id", func() ([]byte, error) { return []byte(r.Key), nil })
				if err != nil || string(b) != r.Key {
					t.Errorf("got %q, %v for %s", b, err, r.Key)
				}
			}
		})
	}
	all.Wait()
	rapid.Check(t, func(t *rapid.T) { checkCache(t, c, records) })
}

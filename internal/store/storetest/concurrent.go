package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/store"
)

// testNoLostUpdate lets many writers count one key up. A conflict's Current is all they need to try again.
func testNoLostUpdate(t *testing.T, s store.Store) {
	const writers, each = 8, 25
	rev := put(t, s, "/n/counter", "0", 0)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			current := store.KV{Key: "/n/counter", Value: []byte("0"), Revision: rev}
			for done := 0; done < each; {
				n, _ := strconv.Atoi(string(current.Value))
				value := []byte(strconv.Itoa(n + 1))
				rev, err := s.Put(t.Context(), current.Key, value, current.Revision, store.PutOptions{})
				var conflict *store.Conflict
				switch {
				case err == nil:
					done++
					current.Value, current.Revision = value, rev
				case errors.As(err, &conflict) && conflict.Current != nil:
					current = *conflict.Current
				default:
					t.Errorf("Put: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	kv, err := s.Get(t.Context(), "/n/counter")
	if err != nil || string(kv.Value) != strconv.Itoa(writers*each) {
		t.Errorf("the counter is %q (%v), want %d", kv.Value, err, writers*each)
	}
	if kv.Revision != rev+writers*each {
		t.Errorf("the last revision is %d, want %d", kv.Revision, rev+writers*each)
	}
}

// op is an operation of the linearizability test, result what came of it.
type op struct {
	kind   string // get, put, delete, revision
	key    string
	value  string
	expect int64
}

type result struct {
	ok       bool
	value    string // what the key holds now, or what it held when !ok
	revision int64  // of the key; 0 when it does not exist
}

// keyState is what the model knows of one key, floor the least revision that the next change can have.
type keyState struct {
	value    string
	revision int64
	floor    int64
}

// keyModel is the sequential specification of one key.
var keyModel = porcupine.Model{
	Init: func() any { return keyState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(keyState), input.(op), output.(result)
		holds := out.value == s.value && out.revision == s.revision
		switch {
		case in.kind == "revision":
			// The store's revision is at least that of the key's last change.
			return out.revision >= s.floor, s
		case in.kind == "get" || !out.ok:
			// A conflict is a read that shows a revision other than the expected one.
			return holds && (in.kind == "get" || in.expect != s.revision), s
		case in.expect != s.revision || out.revision <= s.floor:
			return false, s
		case in.kind == "put":
			return true, keyState{value: in.value, revision: out.revision, floor: out.revision}
		}
		return true, keyState{floor: out.revision}
	},
}

// testLinearizable records operations of concurrent clients and lets porcupine look for an order that explains them.
// Linearizability is a property of each key for itself, so each key's history is checked alone; calls of Revision belong
// to all of them.
func testLinearizable(t *testing.T, s store.Store) {
	const clients, operations = 6, 60
	keys := []string{"/lin/a", "/lin/b"}
	start := time.Now()
	var mu sync.Mutex
	histories := map[string][]porcupine.Operation{}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			seen := map[string]int64{}
			for i := range operations {
				in := op{key: keys[(client+i)%len(keys)], value: fmt.Sprintf("%d-%d", client, i)}
				in.kind = []string{"put", "get", "put", "revision", "delete"}[(i+client)%5]
				in.expect = seen[in.key]
				if in.kind == "delete" && in.expect == 0 {
					in.kind = "put"
				}
				call := time.Since(start).Nanoseconds()
				out, err := do(t, s, in)
				if err != nil {
					t.Errorf("%+v: %v", in, err)
					return
				}
				recorded := porcupine.Operation{
					ClientId: client, Input: in, Call: call, Output: out, Return: time.Since(start).Nanoseconds(),
				}
				mu.Lock()
				if in.kind == "revision" {
					for _, key := range keys {
						histories[key] = append(histories[key], recorded)
					}
				} else {
					seen[in.key] = out.revision
					if in.kind == "delete" && out.ok {
						seen[in.key] = 0
					}
					histories[in.key] = append(histories[in.key], recorded)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for key, history := range histories {
		if got := porcupine.CheckOperationsTimeout(keyModel, history, timeout); got != porcupine.Ok {
			t.Errorf("the history of %s is not linearizable: %v", key, got)
		}
	}
}

func do(t *testing.T, s store.Store, in op) (result, error) {
	var out result
	var err error
	switch in.kind {
	case "revision":
		out.revision, err = s.Revision(t.Context())
		return out, err
	case "get":
		kv, err := s.Get(t.Context(), in.key)
		if errors.Is(err, store.ErrNotFound) {
			return result{}, nil
		}
		return result{ok: true, value: string(kv.Value), revision: kv.Revision}, err
	case "put":
		out.revision, err = s.Put(t.Context(), in.key, []byte(in.value), in.expect, store.PutOptions{})
		out.value = in.value
	case "delete":
		out.revision, err = s.Delete(t.Context(), in.key, in.expect)
	}
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		if conflict.Current == nil {
			return result{}, nil
		}
		return result{value: string(conflict.Current.Value), revision: conflict.Current.Revision}, nil
	}
	out.ok = true
	return out, err
}

// model is the whole keyspace in the simplest form: a copy for every revision.
type model struct {
	revision, compacted int64
	at                  map[int64]map[string]store.KV
	events              []store.Event
}

func (m *model) current() map[string]store.KV { return m.at[m.revision] }

func (m *model) change(key string, value []byte) {
	next := maps.Clone(m.current())
	m.revision++
	if value == nil {
		delete(next, key)
	} else {
		next[key] = store.KV{Key: key, Value: value, Revision: m.revision}
	}
	m.at[m.revision] = next
	m.events = append(m.events, store.Event{Key: key, Value: value, Revision: m.revision})
}

func (m *model) page(opts store.RangeOptions) (store.Page, error) {
	rev := opts.Revision
	switch {
	case rev == 0:
		rev = m.revision
	case rev > m.revision:
		return store.Page{}, store.ErrFutureRevision
	case rev < m.compacted:
		return store.Page{}, store.ErrCompacted
	}
	page := store.Page{Revision: rev, KVs: []store.KV{}}
	for _, key := range slices.Sorted(maps.Keys(m.at[rev])) {
		if !strings.HasPrefix(key, opts.Prefix) || key < opts.From {
			continue
		}
		if opts.Limit > 0 && int64(len(page.KVs)) == opts.Limit {
			page.More = true
			break
		}
		page.KVs = append(page.KVs, m.at[rev][key])
	}
	return page, nil
}

// testModel compares the store with the model under random operations. One store serves all of rapid's attempts, each
// under a prefix of its own, since opening one may be slow; so a step must not depend on what other prefixes hold.
func testModel(t *testing.T, s store.Store) {
	attempt := 0
	rapid.Check(t, func(rt *rapid.T) {
		attempt++
		root := fmt.Sprintf("/m%d/", attempt)
		m := &model{revision: revision(t, s)}
		first := m.revision
		m.at = map[int64]map[string]store.KV{first: {}}
		m.compacted = first // older revisions belong to other attempts
		key := rapid.Custom(func(rt *rapid.T) string {
			return root + rapid.SampledFrom([]string{"a", "a/", "a/b", "aa", "b", "\xff", "b/\x00"}).Draw(rt, "key")
		})
		changeKey := func(rt *rapid.T, value []byte) {
			k := key.Draw(rt, "key")
			expect := m.current()[k].Revision
			if rapid.IntRange(0, 3).Draw(rt, "wrong") == 0 {
				expect += rapid.Int64Range(1, 3).Draw(rt, "off")
			}
			var rev int64
			var err error
			if value == nil {
				rev, err = s.Delete(t.Context(), k, expect)
			} else {
				rev, err = s.Put(t.Context(), k, value, expect, store.PutOptions{})
			}
			kv, exists := m.current()[k]
			if expect == kv.Revision && (exists || value != nil) {
				m.change(k, value)
				if err != nil || rev != m.revision {
					rt.Fatalf("change of %q: revision %d, error %v; want %d", k, rev, err, m.revision)
				}
				return
			}
			want := &store.Conflict{Key: k, Expect: expect}
			if exists {
				want.Current = &kv
			}
			var got *store.Conflict
			if !errors.As(err, &got) || cmp.Diff(want, got) != "" {
				rt.Fatalf("change of %q: %v; want %v", k, err, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				changeKey(rt, append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(rt, "value")...))
			},
			"delete": func(rt *rapid.T) { changeKey(rt, nil) },
			"range": func(rt *rapid.T) {
				opts := store.RangeOptions{
					Prefix:   root + rapid.SampledFrom([]string{"", "a", "a/", "b/", "x"}).Draw(rt, "prefix"),
					Limit:    rapid.Int64Range(0, 4).Draw(rt, "limit"),
					Revision: rapid.SampledFrom([]int64{0, rapid.Int64Range(first, m.revision+1).Draw(rt, "rev")}).Draw(rt, "at"),
				}
				if rapid.Bool().Draw(rt, "from?") {
					opts.From = key.Draw(rt, "from") + rapid.SampledFrom([]string{"", "\x00"}).Draw(rt, "after")
				}
				want, wantErr := m.page(opts)
				got, err := s.Range(t.Context(), opts)
				if !errors.Is(err, wantErr) || cmp.Diff(want, got) != "" {
					rt.Fatalf("Range(%+v): %v, %v; want %v, %v", opts, got, err, want, wantErr)
				}
			},
			"compact": func(rt *rapid.T) {
				rev := rapid.Int64Range(first, m.revision).Draw(rt, "rev")
				if err := s.Compact(t.Context(), rev); err != nil {
					rt.Fatalf("Compact(%d): %v", rev, err)
				}
				m.compacted = max(m.compacted, rev)
			},
		})
		from := max(m.compacted, first+1)
		if from > m.revision || attempt%5 != 0 { // etcd takes 100 ms for each watch of the past
			return
		}
		want := slices.DeleteFunc(m.events, func(e store.Event) bool { return e.Revision < from })
		if diff := cmp.Diff(want, collect(t, s, root, from, m.revision)); diff != "" {
			rt.Fatalf("watch from %d (-want +got):\n%s", from, diff)
		}
	})
}

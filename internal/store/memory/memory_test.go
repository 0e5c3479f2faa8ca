package memory_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) store.Store {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t) }, storetest.Options{})
}

func TestTTLIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		put := func(key string, expect, ttl int64) int64 {
			rev, err := s.Put(t.Context(), key, []byte("v"), expect, store.PutOptions{TTLSeconds: ttl})
			if err != nil {
				t.Fatal(err)
			}
			return rev
		}
		exists := func(key string) bool {
			_, err := s.Get(t.Context(), key)
			return !errors.Is(err, store.ErrNotFound)
		}
		longer := put("/longer", 0, 10)
		put("/ten", 0, 10)
		put("/five", 0, 5)
		deleted := put("/deleted", 0, 3)
		if _, err := s.Delete(t.Context(), "/deleted", deleted); err != nil {
			t.Fatal(err)
		}
		again := put("/deleted", 0, 0)
		put("/longer", longer, 3600)
		for _, step := range []struct {
			wait time.Duration
			want string
		}{
			{5*time.Second - 1, "true true true true"},
			{1, "false true true true"},
			{5*time.Second - 1, "false true true true"},
			{1, "false false true true"},
			{3590*time.Second - 1, "false false true true"},
			{1, "false false false true"},
		} {
			time.Sleep(step.wait)
			synctest.Wait()
			got := fmt.Sprint(exists("/five"), exists("/ten"), exists("/longer"), exists("/deleted"))
			if got != step.want {
				t.Errorf("%v later: %s, want %s", step.wait, got, step.want)
			}
		}
		if kv, err := s.Get(t.Context(), "/deleted"); err != nil || kv.Revision != again {
			t.Errorf("a key without TTL: %v, %v", kv, err)
		}
	})
}

// History is bounded without anybody calling Compact: what falls out is as if it had been compacted.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	s := open(t)
	rev, err := s.Put(t.Context(), "/kept", []byte("v"), 0, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := rev
	value := make([]byte, 1<<20)
	rev = 0
	for range 300 { // 300 MiB, one after the other
		if rev, err = s.Put(t.Context(), "/a", value, rev, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Range(t.Context(), store.RangeOptions{Revision: kept})
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("Range at the first revision: %v", err)
	}
	err = s.Watch(t.Context(), "/", kept, func(store.Batch) error { return errors.New("a batch") })
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("Watch from the first revision: %v", err)
	}
	page, err := s.Range(t.Context(), store.RangeOptions{Revision: rev - 10})
	if err != nil || len(page.KVs) != 2 || page.KVs[1].Revision != kept {
		t.Errorf("a recent revision: %d keys, %v", len(page.KVs), err)
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b)
	value := make([]byte, 3<<10)
	keys := make([]string, 1000)
	revs := make([]int64, len(keys))
	for i := range keys {
		keys[i] = fmt.Sprintf("/registry/pods/default/pod-%d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var err error
		k := i % len(keys)
		if revs[k], err = s.Put(b.Context(), keys[k], value, revs[k], store.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

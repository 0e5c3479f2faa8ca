// Package storetest holds the tests that every implementation of store.Store passes. An implementation's own test calls
// [Run]; what is particular to it (durability, quota, TLS) it tests itself.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kayak-k8s/kayak/internal/store"
)

// Options say what an implementation cannot do, or needs help with.
type Options struct {
	// Txn commits changes of several keys at one revision, as another program that uses the same store may. A nil value
	// deletes the key. When Txn is nil, nothing but the store itself writes to it and the test is skipped.
	Txn func(t *testing.T, s store.Store, changes map[string][]byte) (revision int64)
}

// timeout is how long a test waits for something that has to happen. It is far longer than anything takes, so that it
// passes only when the thing never happens.
const timeout = 30 * time.Second

// Run tests the stores that open returns. Each call of open must return a new, empty store, and close it with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store, opts Options) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"PutAndDeleteAreConditional", testConditions},
		{"ConcurrentWritesLoseNoUpdate", testNoLostUpdate},
		{"EveryKeyIsLinearizable", testLinearizable},
		{"ModelOfKeyspace", testModel},
		{"PagesAreTheFullRange", testPages},
		{"PrefixIsolation", testPrefixIsolation},
		{"CompactedAndFutureRevisions", testCompactedAndFuture},
		{"WatchFromTheRevisionOfACompaction", testWatchAtCompaction},
		{"WatchIsOrderedCompleteAndUnique", testWatchComplete},
		{"WatchResumesFromAnyRevision", testWatchResumes},
		{"WatchReportsRevisionsOutsideThePrefix", testWatchProgress},
		{"WatchWithASlowConsumerLosesNothing", testWatchSlow},
		{"WatchEndsWithItsContext", testWatchContext},
		{"WatchEndsWithDeliverError", testWatchDeliverError},
		{"CloseEndsWatchesAndCalls", testClose},
		{"CanceledContext", testCanceledContext},
		{"ValuesAreImmutable", testImmutable},
		{"TooLarge", testTooLarge},
		{"KeysWithTTLDisappear", testTTL},
		{"Status", testStatus},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
	t.Run("OneRevisionIsOneBatch", func(t *testing.T) {
		if opts.Txn == nil {
			t.Skip("every revision of this store changes one key")
		}
		t.Parallel()
		testOneRevisionOneBatch(t, open(t), opts)
	})
}

func put(t *testing.T, s store.Store, key, value string, expect int64) int64 {
	t.Helper()
	rev, err := s.Put(t.Context(), key, []byte(value), expect, store.PutOptions{})
	if err != nil {
		t.Fatalf("Put(%q, expect %d): %v", key, expect, err)
	}
	return rev
}

func remove(t *testing.T, s store.Store, key string, expect int64) int64 {
	t.Helper()
	rev, err := s.Delete(t.Context(), key, expect)
	if err != nil {
		t.Fatalf("Delete(%q, expect %d): %v", key, expect, err)
	}
	return rev
}

func revision(t *testing.T, s store.Store) int64 {
	t.Helper()
	rev, err := s.Revision(t.Context())
	if err != nil {
		t.Fatalf("Revision: %v", err)
	}
	return rev
}

func compactTo(t *testing.T, s store.Store, rev int64) {
	t.Helper()
	if err := s.Compact(t.Context(), rev); err != nil {
		t.Fatalf("Compact(%d): %v", rev, err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func wantConflict(t *testing.T, what string, err error, want *store.Conflict) {
	t.Helper()
	var got *store.Conflict
	if !errors.As(err, &got) {
		t.Fatalf("%s: got error %v, want a conflict", what, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: conflict (-want +got):\n%s", what, diff)
	}
}

func wantDiff(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func fullRange(t *testing.T, s store.Store, prefix string, rev int64) store.Page {
	t.Helper()
	page, err := s.Range(t.Context(), store.RangeOptions{Prefix: prefix, Revision: rev})
	if err != nil {
		t.Fatalf("Range(%q) at %d: %v", prefix, rev, err)
	}
	return page
}

func testConditions(t *testing.T, s store.Store) {
	const key = "/k/a"
	if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of no key: %v", err)
	}
	_, err := s.Put(t.Context(), key, []byte("x"), 7, store.PutOptions{})
	wantConflict(t, "Put of no key with a revision", err, &store.Conflict{Key: key, Expect: 7})
	_, err = s.Delete(t.Context(), key, 7)
	wantConflict(t, "Delete of no key", err, &store.Conflict{Key: key, Expect: 7})
	_, err = s.Delete(t.Context(), key, 0)
	wantConflict(t, "Delete of no key at revision 0", err, &store.Conflict{Key: key})

	before := revision(t, s)
	first := put(t, s, key, "one", 0)
	if first != before+1 {
		t.Errorf("the first write is at revision %d after %d", first, before)
	}
	one := &store.KV{Key: key, Value: []byte("one"), Revision: first}
	_, err = s.Put(t.Context(), key, []byte("x"), 0, store.PutOptions{})
	wantConflict(t, "second create", err, &store.Conflict{Key: key, Current: one})

	second := put(t, s, key, "", first)
	two := &store.KV{Key: key, Value: []byte{}, Revision: second}
	_, err = s.Put(t.Context(), key, []byte("x"), first, store.PutOptions{})
	wantConflict(t, "Put with an old revision", err, &store.Conflict{Key: key, Expect: first, Current: two})
	_, err = s.Delete(t.Context(), key, first)
	wantConflict(t, "Delete with an old revision", err, &store.Conflict{Key: key, Expect: first, Current: two})
	_, err = s.Delete(t.Context(), key, 0)
	wantConflict(t, "Delete at revision 0", err, &store.Conflict{Key: key, Current: two})
	if got, err := s.Get(t.Context(), key); err != nil || cmp.Diff(*two, got) != "" {
		t.Errorf("Get: %v, %v; want %v", got, err, *two)
	}
	if got := revision(t, s); got != second {
		t.Errorf("refused writes moved the revision from %d to %d", second, got)
	}

	third := remove(t, s, key, second)
	if third != second+1 {
		t.Errorf("Delete is at revision %d after %d", third, second)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Delete: %v", err)
	}
	_, err = s.Put(t.Context(), key, []byte("x"), second, store.PutOptions{})
	wantConflict(t, "Put after Delete", err, &store.Conflict{Key: key, Expect: second})
	if fourth := put(t, s, key, "again", 0); fourth != third+1 {
		t.Errorf("Put is at revision %d after %d", fourth, third)
	}
}

func testPages(t *testing.T, s store.Store) {
	revs := map[string]int64{}
	for i := range 57 {
		key := fmt.Sprintf("/p/%03d", i*7%57)
		revs[key] = put(t, s, key, "old", 0)
	}
	put(t, s, "/p", "outside", 0)
	at := put(t, s, "/p0", "outside", 0) // "0" is the character after "/"
	want := fullRange(t, s, "/p/", 0)
	if len(want.KVs) != 57 || want.More || want.Revision != at {
		t.Fatalf("full range: %d keys, more %v, revision %d; want 57, false, %d", len(want.KVs), want.More, want.Revision, at)
	}
	for i, kv := range want.KVs {
		if i > 0 && want.KVs[i-1].Key >= kv.Key {
			t.Errorf("key %q comes after %q", kv.Key, want.KVs[i-1].Key)
		}
		wantDiff(t, kv.Key, store.KV{Key: kv.Key, Value: []byte("old"), Revision: revs[kv.Key]}, kv)
	}
	for _, limit := range []int64{1, 2, 10, 19, 56, 57, 58} {
		var got []store.KV
		opts := store.RangeOptions{Prefix: "/p/", Limit: limit}
		for {
			page, err := s.Range(t.Context(), opts)
			if err != nil {
				t.Fatalf("Range(%+v): %v", opts, err)
			}
			got = append(got, page.KVs...)
			if page.Revision != at {
				t.Errorf("page of %d is at revision %d, want %d", limit, page.Revision, at)
			}
			if page.More != (len(got) < 57) {
				t.Errorf("page of %d after %d keys says more: %v", limit, len(got), page.More)
			}
			if !page.More {
				break
			}
			// Writes between two pages must not show.
			last := page.KVs[len(page.KVs)-1].Key
			revs[last] = put(t, s, last, "new", revs[last])
			opts.From, opts.Revision = last+"\x00", page.Revision
		}
		wantDiff(t, fmt.Sprintf("pages of %d", limit), want.KVs, got)
		at = revision(t, s)
		want = fullRange(t, s, "/p/", 0)
	}
	for _, from := range []string{"", "/a", "/p", "/p/", "/p/000", "/p/030", "/p/030x", "/p/056", "/p/056\x00", "/p0", "/z"} {
		page, err := s.Range(t.Context(), store.RangeOptions{Prefix: "/p/", From: from})
		if err != nil {
			t.Fatalf("Range from %q: %v", from, err)
		}
		rest := []store.KV{}
		for _, kv := range want.KVs {
			if kv.Key >= from {
				rest = append(rest, kv)
			}
		}
		wantDiff(t, fmt.Sprintf("range from %q", from), rest, page.KVs)
	}
}

func testPrefixIsolation(t *testing.T, s store.Store) {
	from := revision(t, s) + 1
	for _, key := range []string{"/registry/pods", "/registry/pods/a", "/registry/pods/a/b", "/registry/podsx/a", "/registry/pod/a",
		"/registry/pods0", "/registry/pods.", "/registryx/pods/a", "registry/pods/a", "/registry/pods/\xff"} {
		put(t, s, key, "v", 0)
	}
	inside := []string{"/registry/pods/a", "/registry/pods/a/b", "/registry/pods/\xff"}
	keys := []string{}
	for _, kv := range fullRange(t, s, "/registry/pods/", 0).KVs {
		keys = append(keys, kv.Key)
	}
	wantDiff(t, "range", inside, keys)
	if n := len(fullRange(t, s, "", 0).KVs); n != 10 {
		t.Errorf("the range over everything has %d keys, want 10", n)
	}
	events := collect(t, s, "/registry/pods/", from, revision(t, s))
	keys = nil
	for _, e := range events {
		keys = append(keys, e.Key)
	}
	wantDiff(t, "watch", inside, keys)
}

func testCompactedAndFuture(t *testing.T, s store.Store) {
	a1 := put(t, s, "/c/a", "1", 0)
	b := put(t, s, "/c/b", "1", 0)
	a2 := put(t, s, "/c/a", "2", a1)
	remove(t, s, "/c/b", b)
	newest := put(t, s, "/c/a", "3", a2)

	old := []store.KV{{Key: "/c/a", Value: []byte("2"), Revision: a2}, {Key: "/c/b", Value: []byte("1"), Revision: b}}
	wantDiff(t, "before compaction", store.Page{KVs: old, Revision: a2}, fullRange(t, s, "/c/", a2))

	wantError(t, "Compact of a future revision", s.Compact(t.Context(), newest+1), store.ErrFutureRevision)
	compactTo(t, s, a2)
	compactTo(t, s, a2)
	compactTo(t, s, a1)
	compactTo(t, s, 0)

	wantDiff(t, "at the compacted revision", store.Page{KVs: old, Revision: a2}, fullRange(t, s, "/c/", a2))
	_, err := s.Range(t.Context(), store.RangeOptions{Prefix: "/c/", Revision: a2 - 1})
	wantError(t, "Range of a compacted revision", err, store.ErrCompacted)
	_, err = s.Range(t.Context(), store.RangeOptions{Prefix: "/c/", Revision: newest + 1})
	wantError(t, "Range of a future revision", err, store.ErrFutureRevision)
	deliver := func(store.Batch) error { return nil }
	wantError(t, "Watch of a compacted revision", s.Watch(t.Context(), "/c/", a2-1, deliver), store.ErrCompacted)
	wantError(t, "Watch of a future revision", s.Watch(t.Context(), "/c/", newest+2, deliver), store.ErrFutureRevision)
	wantDiff(t, "now", store.Page{KVs: []store.KV{{Key: "/c/a", Value: []byte("3"), Revision: newest}}, Revision: newest},
		fullRange(t, s, "/c/", 0))
}

func testImmutable(t *testing.T, s store.Store) {
	from := revision(t, s) + 1
	value := []byte("first")
	rev, err := s.Put(t.Context(), "/i/a", value, 0, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := s.Get(t.Context(), "/i/a")
	if err != nil {
		t.Fatal(err)
	}
	page := fullRange(t, s, "/i/", 0)
	events := collect(t, s, "/i/", from, rev)
	_, err = s.Put(t.Context(), "/i/a", []byte("xxxxx"), 0, store.PutOptions{})
	var conflict *store.Conflict
	if !errors.As(err, &conflict) {
		t.Fatalf("Put: %v", err)
	}
	for i := range 200 {
		rev = put(t, s, "/i/a", fmt.Sprintf("%05d", i), rev)
	}
	compactTo(t, s, rev)
	for what, got := range map[string][]byte{
		"put": value, "get": kv.Value, "range": page.KVs[0].Value, "watch": events[0].Value, "conflict": conflict.Current.Value,
	} {
		if string(got) != "first" {
			t.Errorf("the value of the %s became %q", what, got)
		}
	}
}

func testTooLarge(t *testing.T, s store.Store) {
	_, err := s.Put(t.Context(), "/l/2", make([]byte, 1600<<10), 0, store.PutOptions{})
	wantError(t, "Put of 1600 KiB", err, store.ErrTooLarge)
	_, err = s.Put(t.Context(), "/l/3", make([]byte, 5<<20), 0, store.PutOptions{})
	wantError(t, "Put of 5 MiB", err, store.ErrTooLarge)
	if n := len(fullRange(t, s, "/l/", 0).KVs); n != 0 {
		t.Errorf("%d refused keys exist", n)
	}
	value := make([]byte, 1500<<10)
	rev, err := s.Put(t.Context(), "/l/1", value, 0, store.PutOptions{})
	if err != nil {
		t.Fatalf("Put of 1500 KiB: %v", err)
	}
	kv, err := s.Get(t.Context(), "/l/1")
	if err != nil || kv.Revision != rev || len(kv.Value) != len(value) {
		t.Errorf("Get: %d bytes at %d, %v", len(kv.Value), kv.Revision, err)
	}
}

// testTTL writes keys with the shortest TTL and waits until they are gone.
func testTTL(t *testing.T, s store.Store) {
	from := revision(t, s) + 1
	started := time.Now()
	ttl := store.PutOptions{TTLSeconds: 1}
	revs := map[string]int64{}
	for _, key := range []string{"/t/1", "/t/2", "/t/kept"} {
		rev, err := s.Put(t.Context(), key, []byte("v"), 0, ttl)
		if err != nil {
			t.Fatal(err)
		}
		revs[key] = rev
	}
	// The last write decides: one without TTL keeps the key.
	kept := put(t, s, "/t/kept", "for ever", revs["/t/kept"])

	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	gone := map[string]int64{}
	enough := errors.New("enough")
	err := s.Watch(ctx, "/t/", from, func(b store.Batch) error {
		for _, e := range b.Events {
			if e.Deleted() {
				gone[e.Key] = e.Revision
			}
		}
		if len(gone) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("Watch: %v, with %v gone", err, gone)
	}
	if lived := time.Since(started); lived < time.Second {
		t.Errorf("keys with a TTL of 1 s lived %v", lived)
	}
	if gone["/t/1"] == 0 || gone["/t/2"] == 0 {
		t.Errorf("gone: %v", gone)
	}
	wantDiff(t, "what is left", []store.KV{{Key: "/t/kept", Value: []byte("for ever"), Revision: kept}}, fullRange(t, s, "/t/", 0).KVs)
	_, err = s.Put(t.Context(), "/t/1", []byte("x"), revs["/t/1"], store.PutOptions{})
	wantConflict(t, "Put of an expired key", err, &store.Conflict{Key: "/t/1", Expect: revs["/t/1"]})
}

func testStatus(t *testing.T, s store.Store) {
	put(t, s, "/s/a", "v", 0)
	status, err := s.Status(t.Context())
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	if status.UsedBytes > status.SizeBytes || status.UsedBytes < 0 || status.QuotaBytes < 0 {
		t.Errorf("Status: %+v", status)
	}
}

func testCanceledContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Revision(ctx)
	wantError(t, "Revision", err, context.Canceled)
	_, err = s.Get(ctx, "/x")
	wantError(t, "Get", err, context.Canceled)
	_, err = s.Range(ctx, store.RangeOptions{Prefix: "/"})
	wantError(t, "Range", err, context.Canceled)
	_, err = s.Put(ctx, "/x", []byte("v"), 0, store.PutOptions{})
	wantError(t, "Put", err, context.Canceled)
	_, err = s.Delete(ctx, "/x", 1)
	wantError(t, "Delete", err, context.Canceled)
	wantError(t, "Watch", s.Watch(ctx, "/", 1, func(store.Batch) error { return nil }), context.Canceled)
}

func testClose(t *testing.T, s store.Store) {
	put(t, s, "/x", "v", 0)
	ready := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(context.Background(), "/", 1, func(store.Batch) error {
			select {
			case ready <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Watch: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	select {
	case err := <-ended:
		wantError(t, "Watch", err, store.ErrUnavailable)
	case <-time.After(timeout):
		t.Fatal("the watch goes on after Close")
	}
	_, err := s.Get(t.Context(), "/x")
	wantError(t, "Get", err, store.ErrUnavailable)
	_, err = s.Put(t.Context(), "/x", []byte("v"), 1, store.PutOptions{})
	wantError(t, "Put", err, store.ErrUnavailable)
	_, err = s.Delete(t.Context(), "/x", 1)
	wantError(t, "Delete", err, store.ErrUnavailable)
	_, err = s.Range(t.Context(), store.RangeOptions{Prefix: "/"})
	wantError(t, "Range", err, store.ErrUnavailable)
	_, err = s.Revision(t.Context())
	wantError(t, "Revision", err, store.ErrUnavailable)
	_, err = s.Status(t.Context())
	wantError(t, "Status", err, store.ErrUnavailable)
	wantError(t, "Compact", s.Compact(t.Context(), 1), store.ErrUnavailable)
	wantError(t, "Watch", s.Watch(t.Context(), "/", 1, func(store.Batch) error { return nil }), store.ErrUnavailable)
}

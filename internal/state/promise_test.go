package state

import (
	"strconv"
	"testing"
)

// A promise is kept for the write that it was made for, when somebody wants it, and forgotten with the next change of its key.
func TestPromise(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	s := start(t, f)
	if err := s.WaitSynced(within(t)); err != nil {
		t.Fatal(err)
	}
	const key, id = "/registry/pods/default/a", "json"
	if s.Wanted(key, id) {
		t.Error("wanted, though nobody watches")
	}
	revision := s.Snapshot().Revision()
	var cursors []*Cursor
	for _, filter := range []Filter{
		{Prefix: pods.Prefix, Encoding: id}, {Prefix: pods.Prefix + "default/", Encoding: id}, {Prefix: pods.Prefix, Encoding: "other"},
	} {
		c, err := s.Watch(filter, revision)
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, c)
	}
	if !s.Wanted(key, id) || s.Wanted(key, "third") || s.Wanted("/registry/unknown/a", id) {
		t.Error("not as it is watched")
	}
	promise := func(value string) func() {
		return s.Promise(key, &Promise{Value: []byte(value), ID: id, Encode: func(revision int64) []byte {
			return []byte(value + "@" + strconv.FormatInt(revision, 10))
		}})
	}
	kept := func(revision int64) string {
		snapshot, err := s.AtLeast(within(t), revision)
		if err != nil {
			t.Fatal(err)
		}
		return string(snapshot.Get(key).Kept(id))
	}
	promise("one")
	revision = f.put(key, []byte("one"))
	if got, want := kept(revision), "one@"+strconv.FormatInt(revision, 10); got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if got := kept(f.put(key, []byte("one"))); got != "" {
		t.Errorf("kept again: %q", got)
	}
	promise("two")
	if got := kept(f.put(key, []byte("somebody else's"))); got != "" {
		t.Errorf("kept for another write: %q", got)
	}
	if got := kept(f.put(key, []byte("two"))); got != "" {
		t.Errorf("kept for a later write: %q", got)
	}
	if _, err := s.AtLeast(within(t), revision); err != nil || s.Snapshot().Get(key).AsStored() {
		t.Error("read as it is stored, which nobody has said", err)
	}
	s.Promise(key, &Promise{Value: []byte("stored"), AsStored: true})
	if got := kept(f.put(key, []byte("stored"))); got != "" || !s.Snapshot().Get(key).AsStored() {
		t.Errorf("kept %q, or not read as it is stored", got)
	}
	promise("three")()
	if got := kept(f.put(key, []byte("three"))); got != "" {
		t.Errorf("kept after it was taken back: %q", got)
	}
	outdated := promise("four")
	promise("five")
	outdated()
	if got := kept(f.put(key, []byte("five"))); got == "" {
		t.Error("taken back with another one")
	}
	for range maxPromises + 10 {
		s.Promise(strconv.Itoa(int(s.promises.count.Load())), &Promise{})
	}
	if n := s.promises.count.Load(); n != maxPromises {
		t.Errorf("%d promises are open, want %d", n, maxPromises)
	}
	for _, c := range cursors {
		c.Close()
		c.Close()
	}
	if s.Wanted(key, id) || s.Wanted(key, "other") {
		t.Error("wanted, though nobody watches any more")
	}
}

// TestPromisedBytes: promises that nobody keeps take a bounded amount of memory, and none once they are gone.
func TestPromisedBytes(t *testing.T) {
	t.Parallel()
	var ps promises
	const size = 1 << 20
	for i := range 100 {
		ps.add(strconv.Itoa(i%50), &Promise{Value: make([]byte, size)})
		if ps.bytes > maxPromisedBytes || ps.bytes != len(ps.open)*size {
			t.Fatalf("%d promises are said to take %d bytes", len(ps.open), ps.bytes)
		}
	}
	if len(ps.open) != maxPromisedBytes/size {
		t.Errorf("%d promises are open", len(ps.open))
	}
	p := ps.take("3")
	ps.drop("3", p)
	ps.drop("4", p)
	ps.drop("5", ps.open["5"])
	if p == nil || ps.bytes != len(ps.open)*size || ps.bytes != maxPromisedBytes-2*size {
		t.Errorf("%d promises are said to take %d bytes", len(ps.open), ps.bytes)
	}
	ps.clear()
	if ps.bytes != 0 || ps.count.Load() != 0 {
		t.Error("something is left")
	}
}

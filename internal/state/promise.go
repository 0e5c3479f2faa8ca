package state

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

// Promise is what a writer knows of an object that it is about to store. When the write comes back through the log, the record has
// the encoding from its beginning: nobody decodes what is stored only to encode it again for those who watch.
type Promise struct {
	// Value is the stored form, by which the write is recognized: of the same bytes anybody would make the same encoding.
	Value []byte
	// AsStored becomes the record's.
	AsStored bool
	// ID names the encoding, as Record.Encoding does.
	ID string
	// Encode makes its bytes for the revision that the write has got. It is called once at most, by another goroutine. nil: there is none.
	Encode func(revision int64) []byte
}

// Bounds of the promises that are open: those of writes that are under way, or acknowledged and not yet applied. There are many where
// the log does not come.
const (
	maxPromises      = 1000
	maxPromisedBytes = 32 << 20 // of their values
)

// promises are the promises that are open, one for each key at most.
//
// Ownership: mu guards open and bytes; count is the length of open, for looking without the lock.
type promises struct {
	count atomic.Int64
	mu    sync.Mutex
	open  map[string]*Promise
	bytes int // of the values in open
}

// Wanted reports whether somebody who watches objects of the key's family asks for an encoding: if not, to promise it would only
// fill the memory for encodings.
func (s *State) Wanted(key, id string) bool {
	f := s.families.Load().of(key)
	if f == nil {
		return false
	}
	wanted := f.wanted.Load()
	return wanted != nil && slices.Contains(*wanted, id)
}

// Promise notes a promise for a key, in the place of one that is open. It is kept when the next change of the key is applied, if
// that is the promised one, and forgotten in any case. Whoever has written nothing takes it back.
func (s *State) Promise(key string, p *Promise) (takeBack func()) {
	s.promises.add(key, p)
	return func() { s.promises.drop(key, p) }
}

func (ps *promises) add(key string, p *Promise) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.remove(key)
	if len(ps.open) >= maxPromises || ps.bytes+len(p.Value) > maxPromisedBytes {
		return
	}
	if ps.open == nil {
		ps.open = map[string]*Promise{}
	}
	ps.open[key] = p
	ps.bytes += len(p.Value)
	ps.count.Store(int64(len(ps.open)))
}

// remove forgets the promise for a key, if there is one. mu is held.
func (ps *promises) remove(key string) {
	if p := ps.open[key]; p != nil {
		delete(ps.open, key)
		ps.bytes -= len(p.Value)
		ps.count.Store(int64(len(ps.open)))
	}
}

func (ps *promises) drop(key string, p *Promise) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.open[key] == p {
		ps.remove(key)
	}
}

// take returns the promise for a key, if there is one, and forgets it.
func (ps *promises) take(key string) *Promise {
	if ps.count.Load() == 0 {
		return nil
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.open[key]
	ps.remove(key)
	return p
}

// clear forgets all promises.
func (ps *promises) clear() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.open, ps.bytes = nil, 0
	ps.count.Store(0)
}

// keepPromise gives a new record what was promised for it.
func (s *State) keepPromise(r *Record, value []byte) {
	p := s.promises.take(r.Key)
	if p == nil || !bytes.Equal(p.Value, value) {
		return
	}
	r.asStored = p.AsStored
	if p.Encode != nil {
		s.encodings.offer(r, p.ID, p.Encode(r.Revision))
	}
}

// offer keeps an encoding that was made elsewhere.
func (c *encodingCache) offer(r *Record, id string, data []byte) {
	e := &encoding{id: id, position: -1, data: data}
	e.one[0] = r
	e.records = e.one[:]
	e.once.Do(func() {})
	e.made.Store(true)
	e.asked.Store(true)
	if c.reserve(e) == e {
		c.keep(e)
	}
}

// want counts those who watch the family and ask for an encoding. State.mu is held.
func (f *family) want(id string, by int) {
	if id == "" {
		return
	}
	if f.wants == nil {
		f.wants = map[string]int{}
	}
	before := f.wants[id]
	f.wants[id] += by
	if before > 0 && before+by > 0 {
		return
	}
	if before+by == 0 {
		delete(f.wants, id)
	}
	ids := make([]string, 0, len(f.wants))
	for id := range f.wants {
		ids = append(ids, id)
	}
	f.wanted.Store(&ids)
}

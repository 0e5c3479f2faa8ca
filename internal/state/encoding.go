package state

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// encodingOverhead is what an encoding costs beyond its bytes, in bytes; sharedOverhead, what it costs for each of the records
// that share it: a place and a list.
const (
	encodingOverhead = 200
	sharedOverhead   = 56
)

// errAbandoned is what those get who waited for an encoding whose maker panicked.
var errAbandoned = errors.New("state: encoding was abandoned")

// encodingCache keeps what records have encoded, within a budget, and drops what was not asked for lately (CLOCK).
//
// Ownership: mu guards the fields, every Record.encodings list (writes; reads are free), and position and listed of every
// encoding.
// Invariant: used is the sum of the cost of what is in clock, and never above budget while mu is free.
// Invariant: an encoding in clock is in the list of at least one record, in listed of them, and clock[e.position] == e.
// Invariant: a list is never changed, only replaced, so records may share one.
// Invariant: a record whose list is dead is never given an encoding again.
type encodingCache struct {
	budget int64
	// dead is the list of records that have left the state.
	dead *[]*encoding

	mu    sync.Mutex
	clock []*encoding
	hand  int
	used  int64
}

// encoding is one encoding of one record, or one that a run of records has together (see Span).
//
// Ownership: once.Do writes data and err; after once.Do they are read only. What is made before it is listed needs no once.
type encoding struct {
	// records are whose encoding it is, in the order of their keys.
	records []*Record
	id      string
	once    sync.Once
	made    atomic.Bool // data is there
	data    []byte
	err     error
	// places says where in data the bytes of each record are; nil when all of data belongs to all of records.
	places []place
	// asked says that it was asked for since the hand of the clock came by.
	asked atomic.Bool
	// position is the place in clock, -1 when it is not there; listed is how many records have the encoding in their list.
	position int
	listed   int
	one      [1]*Record // room for the usual number of records
}

type place struct{ start, end int }

func newEncodingCache(budget int64) *encodingCache {
	return &encodingCache{budget: budget, dead: new([]*encoding)}
}

// Encoding returns the record's bytes in the form that id names. They are made by encode, at most once for a record and an id
// however many ask at the same time, and kept for others, within the state's budget, until they are not asked for any more
// or until the record has left the state's history. Nobody may change the bytes. When encode fails, all who wait for it get
// the error and the next caller tries again. The caller sees to it that there are few ids.
func (r *Record) Encoding(id string, encode func() ([]byte, error)) ([]byte, error) {
	e := lookup(r.encodings.Load(), id)
	if e == nil {
		e = &encoding{id: id, position: -1}
		e.one[0] = r
		e.records = e.one[:]
		if e = r.cache.reserve(e); e == nil {
			return encode()
		}
	}
	if e.places != nil {
		e.touch()
		return e.of(r), nil
	}
	return e.get(encode)
}

// Kept returns what Encoding has kept, nil when there is nothing; it makes nothing.
func (r *Record) Kept(id string) []byte {
	e := lookup(r.encodings.Load(), id)
	switch {
	case e == nil:
		return nil
	case e.places != nil:
		return e.of(r)
	case e.made.Load():
		return e.data
	}
	return nil
}

// get returns the bytes, and makes them if nobody has.
func (e *encoding) get(encode func() ([]byte, error)) ([]byte, error) {
	e.touch()
	e.once.Do(func() {
		e.err = errAbandoned
		defer func() { e.records[0].cache.keep(e) }()
		e.data, e.err = encode()
		e.made.Store(e.err == nil)
	})
	return e.data, e.err
}

func (e *encoding) touch() {
	if !e.asked.Load() {
		e.asked.Store(true)
	}
}

// of returns the part that is one record's.
func (e *encoding) of(r *Record) []byte {
	i, _ := slices.BinarySearchFunc(e.records, r.Key, func(x *Record, key string) int { return strings.Compare(x.Key, key) })
	p := e.places[i]
	return e.data[p.start:p.end:p.end]
}

// covers reports whether the encoding is that of exactly these records. Runs of records are parts of leaves, which never
// change, so it is enough to see where they are.
func (e *encoding) covers(records []*Record) bool {
	return len(e.records) == len(records) && (&e.records[0] == &records[0] || len(records) == 1 && e.records[0] == records[0])
}

func lookup(list *[]*encoding, id string) *encoding {
	if list == nil {
		return nil
	}
	for _, e := range *list {
		if e.id == id {
			return e
		}
	}
	return nil
}

// reserve lists e, which is to be made, with its first record, and returns it; or the encoding that is there already. It
// returns nil when the record is dead.
func (c *encodingCache) reserve(e *encoding) *encoding {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := e.records[0]
	list := r.encodings.Load()
	if list == c.dead {
		return nil
	}
	old := lookup(list, e.id)
	if old != nil && (old.places != nil || old.covers(e.records)) {
		return old
	}
	c.list(r, old, e)
	return e
}

// list puts e into the list of a record, in the place of old if that is not nil.
func (c *encodingCache) list(r *Record, old, e *encoding) {
	var list []*encoding
	if p := r.encodings.Load(); p != nil {
		list = *p
	}
	at, end := len(list), len(list)
	if old != nil {
		at = slices.Index(list, old)
		end = at + 1
		c.unlisted(old)
	}
	longer := splice(list, at, end, e)
	r.encodings.Store(&longer)
	e.listed++
}

// unlisted notes that a record no longer has e in its list. What no record has is not kept.
func (c *encodingCache) unlisted(e *encoding) {
	e.listed--
	if e.listed == 0 && e.position >= 0 {
		c.unclock(e)
	}
}

// keep takes a made encoding into the budget. What failed, or is so large that it would push out much else, is not kept.
func (c *encodingCache) keep(e *encoding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.listed == 0: // the record is dead, or has it from somewhere else meanwhile
	case e.err != nil || e.cost() > c.budget/8:
		c.unlist(e)
	default:
		c.take(e)
	}
}

// take takes a listed encoding into the budget, and makes room for it.
func (c *encodingCache) take(e *encoding) {
	c.used += e.cost()
	for c.used > c.budget {
		c.advance()
	}
	e.position = len(c.clock)
	c.clock = append(c.clock, e)
}

// share makes e, which holds the bytes of all its records, the one that they all have, in the place of their own.
func (c *encodingCache) share(e *encoding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.cost() > c.budget/8 {
		return
	}
	only := &[]*encoding{e} // the list of most records
	var before *encoding
	for _, r := range e.records {
		list := r.encodings.Load()
		old := lookup(list, e.id)
		if before != old {
			c.dropPast(before)
			before = old
		}
		switch {
		case list == c.dead:
		case list == nil || len(*list) == 1 && old != nil:
			if old != nil {
				c.unlisted(old)
			}
			r.encodings.Store(only)
			e.listed++
		default:
			c.list(r, old, e)
		}
	}
	c.dropPast(before)
	if e.listed > 0 {
		c.take(e)
	}
}

// dropPast drops an encoding if none but records of the past still have it.
func (c *encodingCache) dropPast(e *encoding) {
	if e == nil || e.position < 0 {
		return
	}
	for _, r := range e.records {
		if list := r.encodings.Load(); list != nil && slices.Contains(*list, e) && !r.replaced.Load() {
			return
		}
	}
	c.unclock(e)
	c.unlist(e)
}

// advance moves the hand of the clock on by one: an encoding that was asked for since the hand was there last is spared,
// any other is dropped.
func (c *encodingCache) advance() {
	if c.hand >= len(c.clock) {
		c.hand = 0
	}
	e := c.clock[c.hand]
	if e.asked.Swap(false) {
		c.hand++
		return
	}
	c.unclock(e)
	c.unlist(e)
}

// release forgets all encodings of a record that has left the state, for good. What it had together with others stays theirs.
func (c *encodingCache) release(r *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := r.encodings.Swap(c.dead)
	if list == nil {
		return
	}
	for _, e := range *list {
		c.unlisted(e)
	}
}

// unclock takes e out of the clock and the budget; the last one takes its place.
func (c *encodingCache) unclock(e *encoding) {
	c.used -= e.cost()
	end := len(c.clock) - 1
	last := c.clock[end]
	c.clock[e.position], last.position = last, e.position
	c.clock[end] = nil
	c.clock = c.clock[:end]
	e.position = -1
}

// unlist takes e out of the lists of its records.
func (c *encodingCache) unlist(e *encoding) {
	for _, r := range e.records {
		list := r.encodings.Load()
		if list == nil {
			continue
		}
		i := slices.Index(*list, e)
		switch {
		case i < 0:
		case len(*list) == 1:
			r.encodings.Store(nil)
		default:
			shorter := splice(*list, i, i+1)
			r.encodings.Store(&shorter)
		}
	}
	e.listed = 0
}

// cost is what an encoding takes of the budget, its slots in its records' lists included.
func (e *encoding) cost() int64 {
	return encodingOverhead + int64(len(e.data)+len(e.id)) + int64(len(e.places))*sharedOverhead
}

// size returns the bytes and the number of the encodings that are kept.
func (c *encodingCache) size() (bytes int64, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used, len(c.clock)
}

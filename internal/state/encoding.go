package state

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// encodingOverhead is what an encoding costs beyond its bytes, in bytes.
const encodingOverhead = 144

// errAbandoned is what those get who waited for an encoding whose maker panicked.
var errAbandoned = errors.New("state: encoding was abandoned")

// encodingCache keeps what records have encoded, within a budget, and drops what was not asked for lately (CLOCK).
//
// Ownership: mu guards the fields, every Record.encodings list (writes; reads are free), and position of every encoding.
// Invariant: used is the sum of the cost of what is in clock, and never above budget while mu is free.
// Invariant: an encoding in clock is in the list of its record, and clock[e.position] == e.
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

// encoding is one encoding of one record.
//
// Ownership: once.Do writes data and err; after once.Do they are read only.
type encoding struct {
	record *Record
	id     string
	once   sync.Once
	data   []byte
	err    error
	// asked says that it was asked for since the hand of the clock came by.
	asked atomic.Bool
	// position is the place in clock, -1 when it is not there.
	position int
}

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
		if e = r.cache.reserve(r, id); e == nil {
			return encode()
		}
	}
	if !e.asked.Load() {
		e.asked.Store(true)
	}
	e.once.Do(func() {
		e.err = errAbandoned
		defer func() { r.cache.keep(e) }()
		e.data, e.err = encode()
	})
	return e.data, e.err
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

// reserve returns the record's encoding with this id, a new one if need be; nil when the record is dead.
func (c *encodingCache) reserve(r *Record, id string) *encoding {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := r.encodings.Load()
	if list == c.dead {
		return nil
	}
	if e := lookup(list, id); e != nil {
		return e
	}
	e := &encoding{record: r, id: id, position: -1}
	longer := []*encoding{e}
	if list != nil {
		longer = splice(*list, len(*list), len(*list), e)
	}
	r.encodings.Store(&longer)
	return e
}

// keep takes a made encoding into the budget, and makes room for it. What failed, or is so large that it would push out much
// else, is not kept.
func (c *encodingCache) keep(e *encoding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.record.encodings.Load() == c.dead {
		return
	}
	if e.err != nil || e.cost() > c.budget/8 {
		c.unlist(e)
		return
	}
	c.used += e.cost()
	for c.used > c.budget {
		c.advance()
	}
	e.position = len(c.clock)
	c.clock = append(c.clock, e)
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

// release forgets all encodings of a record that has left the state, for good.
func (c *encodingCache) release(r *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := r.encodings.Swap(c.dead)
	if list == nil {
		return
	}
	for _, e := range *list {
		if e.position >= 0 {
			c.unclock(e)
		}
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

// unlist takes e out of the list of its record.
func (c *encodingCache) unlist(e *encoding) {
	list := *e.record.encodings.Load()
	i := slices.Index(list, e)
	if len(list) == 1 {
		e.record.encodings.Store(nil)
		return
	}
	shorter := splice(list, i, i+1)
	e.record.encodings.Store(&shorter)
}

func (e *encoding) cost() int64 { return encodingOverhead + int64(len(e.data)+len(e.id)) }

// size returns the bytes and the number of the encodings that are kept.
func (c *encodingCache) size() (bytes int64, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used, len(c.clock)
}

package state

import (
	"context"
	"fmt"
	"strings"
)

// eventsPerCall is about how many events one call of Next returns at most. The events of one revision are never torn apart. It
// is small because whoever got them keeps them alive while it waits for a client that does not read.
const eventsPerCall = 16

// Filter says which events a cursor sees. An event matches when its key does and when, with Field set, the header of Record
// or that of Previous has this value for the field (a missing field has the value ""): the caller turns changes into and out
// of the selection into additions and deletions.
type Filter struct {
	// Prefix is the prefix of a family or longer, such as "/registry/pods/default/". With Exact it is one whole key.
	Prefix string
	Exact  bool
	// Field, when set, and Value select by a header field. When the family indexes the field, events with other values cost
	// the cursor nothing.
	Field, Value string
	// Encoding names the encoding that the caller asks records for, if there is one that is worth being promised; see Promise.
	Encoding string
}

func (f Filter) match(e *Event) bool {
	if f.Exact && e.Record.Key != f.Prefix || !f.Exact && !strings.HasPrefix(e.Record.Key, f.Prefix) {
		return false
	}
	return f.Field == "" || e.Record.Header().Fields.Get(f.Field) == f.Value ||
		e.Previous != nil && e.Previous.Header().Fields.Get(f.Field) == f.Value
}

// Cursor is a place in the history of one family, with a filter. It keeps no event alive, and costs nothing while no event
// matches. It must be closed.
//
// Ownership: one goroutine at a time uses a cursor.
// Invariant: every matching event with a revision in (the revision Watch was given, seen] has been returned once.
// Invariant: a cursor is never ahead of State.Snapshot.
type Cursor struct {
	state  *State
	filter Filter
	family *family
	topic  *topic // nil when the family's log serves the filter

	// The cursor reads the family's log up to place.end, then goes on in the topic's: a topic begins when it is first
	// needed, so what happened before is looked up where everything is.
	log   *log[Event]
	place uint64
	end   uint64 // where to leave the family's log for the topic's
	start uint64 // where to begin in the topic's log

	after  int64
	seen   int64
	buffer []*Event
	closed bool

	listener *listener // nil unless Notify was called
	heard    *log[Event]
}

// Watch returns a cursor that sees every matching event with a revision above after. It returns ErrExpired when after is
// below Floor, and ErrNoFamily when no family has the filter's prefix. A revision that does not exist yet may be watched
// from: the cursor waits for what comes after it.
func (s *State) Watch(filter Filter, after int64) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	family := s.families.Load().of(filter.Prefix)
	if family == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoFamily, filter.Prefix)
	}
	if after < s.Floor() {
		return nil, ErrExpired
	}
	c := &Cursor{
		state: s, filter: filter, family: family, log: family.log, after: after, seen: after,
		place: family.log.search(func(e *Event) bool { return e.Revision > after }),
	}
	if topics, name := family.topics(filter); topics != nil {
		c.topic = topics[name]
		if c.topic == nil {
			c.topic = new(topic)
			topics[name] = c.topic
		}
		c.topic.users++
		c.end = family.log.next.Load()
		c.start = c.topic.log.next.Load()
	}
	family.want(filter.Encoding, 1)
	return c, nil
}

// Close gives up the place. Closing again does nothing.
func (c *Cursor) Close() {
	if c.closed {
		return
	}
	c.closed = true
	c.buffer = nil
	if c.listener != nil {
		c.heard.wake.remove(c.listener)
	}
	if c.topic == nil && c.filter.Encoding == "" {
		return
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.family.want(c.filter.Encoding, -1)
	if c.topic == nil {
		return
	}
	c.topic.users--
	topics, name := c.family.topics(c.filter)
	if c.topic.users == 0 && topics[name] == c.topic {
		delete(topics, name)
	}
}

// Next waits until there are events and returns them. It ends with the context's error when ctx ends, and with ErrExpired
// when the place is gone. Every matching event up to revision has been returned by this call and those before; that also
// holds when there are no events. The slice may be used until the next call.
func (c *Cursor) Next(ctx context.Context) (events []*Event, revision int64, err error) {
	for {
		events, revision, err = c.TryNext()
		if len(events) > 0 || err != nil {
			return events, revision, err
		}
		select {
		case <-c.Wait():
		case <-ctx.Done():
			return nil, revision, ctx.Err()
		}
	}
}

// TryNext is Next without waiting: there may be no events.
func (c *Cursor) TryNext() (events []*Event, revision int64, err error) {
	clear(c.buffer) // so that an idle cursor keeps nothing alive
	c.buffer = c.buffer[:0]
	if c.closed {
		return nil, c.seen, ErrExpired
	}
	newest := c.state.published.Load().snapshot.revision
	drained, ok := c.read(newest)
	// The logs die before what comes after them is published, so a log that is alive now had everything up to newest.
	if !ok || c.log.dead.Load() || c.topic != nil && c.topic.log.dead.Load() {
		clear(c.buffer)
		return nil, c.seen, ErrExpired
	}
	if drained {
		c.seen = max(c.seen, newest)
	} else {
		c.seen = c.buffer[len(c.buffer)-1].Revision
	}
	return c.buffer, c.seen, nil
}

// read puts the events up to the revision newest into the buffer. It reports whether it came to the end, and false for ok
// when the place is gone.
func (c *Cursor) read(newest int64) (drained, ok bool) {
	for {
		c.settle()
		e, ok := c.peek()
		if !ok && c.skip() {
			continue
		}
		if !ok {
			return false, false
		}
		if e == nil || e.Revision > newest {
			return true, true
		}
		if n := len(c.buffer); n >= eventsPerCall && e.Revision != c.buffer[n-1].Revision {
			return false, true
		}
		if e.Revision > c.after && c.filter.match(e) {
			c.buffer = append(c.buffer, e)
		}
		c.place++
	}
}

// settle moves the cursor on to its topic's log once it is done with its family's.
func (c *Cursor) settle() {
	if c.topic != nil && c.log == c.family.log && c.place >= c.end {
		c.log, c.place = &c.topic.log, c.start
	}
}

// skip moves the cursor past what has been dropped, if it had no business there: a cursor that waits for a revision in the
// future lets events pass that it never looks at. An event is dropped from its logs after the floor has risen to it, so
// all that is before first now is not after the floor as it is read next.
func (c *Cursor) skip() bool {
	first := c.log.first.Load()
	if c.log.dead.Load() || c.seen < c.state.Floor() {
		return false
	}
	c.place = max(c.place, first)
	return true
}

// peek returns the event at the cursor's place, nil when there is none yet, and false when it is gone.
func (c *Cursor) peek() (*Event, bool) {
	if c.place >= c.log.next.Load() {
		return nil, !c.log.dead.Load()
	}
	e := c.log.at(c.place)
	return e, e != nil
}

// Wait returns a channel that is closed when TryNext may have something new: events, or an error. It is for callers that
// wait for other things as well; the channel is for one use.
func (c *Cursor) Wait() <-chan struct{} {
	c.settle()
	channel := c.log.wake.wait()
	if c.ready() {
		return c.state.always
	}
	return channel
}

// Notify has wake called whenever TryNext may have something new, until the cursor is closed: for callers who do not wait. It is called
// once, by someone who has got everything by TryNext. wake may be called any number of times, by anybody; it must not wait, and
// ask nothing of the state.
func (c *Cursor) Notify(wake func()) {
	c.settle()
	c.listener, c.heard = &listener{wake: wake}, c.log
	c.heard.wake.add(c.listener)
	if c.ready() {
		wake()
	}
}

func (c *Cursor) ready() bool {
	if c.closed {
		return true
	}
	e, ok := c.peek()
	return !ok || e != nil && e.Revision <= c.state.published.Load().snapshot.revision
}

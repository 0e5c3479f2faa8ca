package state

import "sync/atomic"

// Span is a run of neighbouring records of a snapshot, or any records that a caller puts together. Those of a whole leaf of the
// tree can keep things together: an unchanged list is then a few large pieces of ready bytes, and a change costs one piece.
// Records must not be changed. A Span keeps its records alive.
type Span struct {
	Records []*Record
	// shared says that Records is what the leaf has of a scope: every reader of that scope finds the same span again.
	shared bool
	// leaf is where Records are, from the record at on; facts is the state's. Without them there are no indexes.
	leaf  *node
	at    int
	facts *atomic.Uint64
}

// Spans calls fn for the spans that together hold what Ascend(prefix, from) visits, in order, until fn returns false. scope is
// the prefix of all records that belong together, such as a family's. A span that has all records of its leaf that are in the
// scope can keep encodings, others cannot (see Span.Keeps).
func (s *Snapshot) Spans(scope, prefix, from string, fn func(Span) bool) {
	first, end, scopeEnd := max(prefix, from), after(prefix), after(scope)
	s.root.leaves(first, end, "", func(leaf *node, next string) bool {
		if leaf.low >= first && next != "" && (end == "" || next <= end) { // the prefix is one in the scope
			return fn(Span{Records: leaf.records, shared: true, leaf: leaf, facts: s.facts})
		}
		_, all := leaf.between(scope, scopeEnd)
		at, some := leaf.between(first, end)
		if len(some) == 0 {
			return true
		}
		return fn(Span{Records: some, shared: len(some) == len(all), leaf: leaf, at: at, facts: s.facts})
	})
}

// Keeps reports whether what is made of the span can be kept for the next who asks.
func (s Span) Keeps() bool { return s.shared }

// First returns a span of the first n records.
func (s Span) First(n int) Span {
	if n >= len(s.Records) {
		return s
	}
	return Span{Records: s.Records[:n]}
}

// Joined returns the encodings of the records, as Record.Encoding makes them, joined by frame, which appends an item to b, the
// item's bytes in one piece. When the span keeps, the joined bytes are kept in the place of the records' own, whose Encoding
// then are parts of them. Nobody may change the bytes.
func (s Span) Joined(id string, encode func(*Record) ([]byte, error), frame func(b, item []byte) (framed []byte, at int)) ([]byte, error) {
	first := s.Records[0]
	if e := lookup(first.encodings.Load(), id); e != nil && e.places != nil && e.covers(s.Records) {
		e.touch()
		return e.data, nil
	}
	items := make([][]byte, len(s.Records))
	size, current := 0, s.shared
	for i, r := range s.Records {
		item, err := r.Encoding(id, func() ([]byte, error) { return encode(r) })
		if err != nil {
			return nil, err
		}
		items[i] = item
		size += len(item) + frameOverhead
		current = current && !r.replaced.Load()
	}
	e := &encoding{records: s.Records, id: id, position: -1, data: make([]byte, 0, size), places: make([]place, len(items))}
	for i, item := range items {
		var at int
		e.data, at = frame(e.data, item)
		e.places[i] = place{at, at + len(item)}
	}
	if current { // otherwise a reader of the past would undo what readers of the present share
		e.touch()
		first.cache.share(e)
	}
	return e.data, nil
}

// frameOverhead is room for what Joined puts around an item.
const frameOverhead = 8

// Former is what Encoding has kept of a span that is another one by now. The zero value stands for nothing. Nobody may change it.
type Former struct {
	Records []*Record
	Data    []byte
}

// Encoding is Record.Encoding for something that is made of all the records together, under an id of its own. What belongs to
// a span that does not keep is made anew each time. encode is told what there was before the span changed: most of its records are
// mostly still the same.
func (s Span) Encoding(id string, encode func(Former) ([]byte, error)) ([]byte, error) {
	first := s.Records[0]
	e := lookup(first.encodings.Load(), id)
	var former Former
	if e != nil && !(s.shared && e.covers(s.Records)) {
		if e.made.Load() && e.places == nil {
			former = Former{e.records, e.data}
		}
		e = nil
	}
	if e == nil && s.shared {
		e = first.cache.reserve(&encoding{records: s.Records, id: id, position: -1})
	}
	if e == nil {
		return encode(former)
	}
	return e.get(func() ([]byte, error) { return encode(former) })
}

// leaves calls fn for the leaves that may hold keys with from <= key < to, in order, until it returns false. With each leaf it
// says where the next one begins, "" if that is not known; next is what follows n. It reports whether fn always returned true.
func (n *node) leaves(from, to, next string, fn func(leaf *node, next string) bool) bool {
	switch {
	case n == nil:
		return true
	case n.leaf():
		return fn(n, next)
	}
	for i := n.child(from); i < len(n.children); i++ {
		c, behind := n.children[i], next
		if to != "" && c.low >= to {
			return true
		}
		if i+1 < len(n.children) {
			behind = n.children[i+1].low
		}
		if !c.leaves(from, to, behind, fn) {
			return false
		}
	}
	return true
}

// between returns the records of a leaf with from <= key < to, and where they begin.
func (n *node) between(from, to string) (int, []*Record) {
	first, last := 0, len(n.records)
	if n.low < from {
		first, _ = n.find(from)
	}
	if to != "" && n.records[last-1].Key >= to {
		last, _ = n.find(to)
	}
	first = min(first, last)
	return first, n.records[first:last]
}

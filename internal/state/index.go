package state

import (
	"cmp"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// Term is a condition on one label or one field: that it has one of some values.
type Term struct {
	// Field says that Key is a field of the header, not a label.
	Field  bool
	Key    string
	Values []string
}

// maxIndexes bounds the indexes of a leaf; what is asked for beyond them is found by looking at each record. An index of a leaf
// takes up to 16 bytes for each record.
const maxIndexes = 4

// index finds the records of a leaf by the values of one label or field. Immutable.
type index struct {
	field bool
	key   string
	// facts is State.facts from before the records were looked at: another number means that they may have been parsed anew.
	facts  uint64
	values []indexedValue // sorted
}

// indexedValue stands for the values with a hash. To look through the values themselves, all over memory, would be most of what
// an index costs; that two have the same hash is rare, and then more records are found than have been asked for.
type indexedValue struct {
	hash    uint64
	records uint64 // bit i is for the leaf's record i
}

var hashSeed = maphash.MakeSeed()

// Having returns the records of the span that meet a term, or more than those: a term that is nil, or for which there is no
// index, is met by all. Reading many spans by the same term costs little more than reading what it finds.
func (s Span) Having(term *Term) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		if term == nil || s.facts == nil || len(s.leaf.records) > bits.UintSize {
			slices.Values(s.Records)(yield)
			return
		}
		x := s.leaf.indexOf(term, s.facts.Load())
		if x == nil {
			slices.Values(s.Records)(yield)
			return
		}
		for found := x.find(term.Values) >> s.at; found != 0; found &= found - 1 {
			i := bits.TrailingZeros64(found)
			if i >= len(s.Records) || !yield(s.Records[i]) {
				return
			}
		}
	}
}

// find returns the records with one of some values.
func (x *index) find(values []string) (records uint64) {
	for _, value := range values {
		if i, ok := x.search(maphash.String(hashSeed, value)); ok {
			records |= x.values[i].records
		}
	}
	return records
}

func (x *index) search(hash uint64) (int, bool) {
	return slices.BinarySearchFunc(x.values, hash, func(v indexedValue, hash uint64) int { return cmp.Compare(v.hash, hash) })
}

// indexOf returns the leaf's index for a term, made now if need be; nil when the leaf has too many.
func (n *node) indexOf(term *Term, facts uint64) *index {
	for {
		list := n.indexes.Load()
		var have []*index
		if list != nil {
			have = *list
		}
		at := slices.IndexFunc(have, func(x *index) bool { return x.key == term.Key && x.field == term.Field })
		switch {
		case at >= 0 && have[at].facts == facts:
			return have[at]
		case at < 0 && len(have) == maxIndexes:
			return nil
		case at < 0:
			at = len(have)
		}
		x := newIndex(n.records, term, facts)
		longer := splice(have, at, min(at+1, len(have)), x)
		if n.indexes.CompareAndSwap(list, &longer) {
			return x
		}
	}
}

func newIndex(records []*Record, term *Term, facts uint64) *index {
	x := &index{field: term.Field, key: term.Key, facts: facts}
	for i, r := range records {
		set := r.Header().Labels
		if term.Field {
			set = r.Header().Fields
		}
		value, ok := set.Lookup(term.Key)
		if !ok {
			continue
		}
		hash := maphash.String(hashSeed, value)
		at, ok := x.search(hash)
		if !ok {
			x.values = slices.Insert(x.values, at, indexedValue{hash: hash})
		}
		x.values[at].records |= 1 << i
	}
	x.values = slices.Clip(x.values)
	return x
}

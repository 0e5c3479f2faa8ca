package state

import (
	"slices"
	"sort"
	"strings"
	"sync/atomic"
)

// Header is what selectors ask for: the few facts about an object that are kept parsed.
type Header struct {
	UID    string
	Labels Set
	// Fields are the fields of the kind that field selectors may name, for example "spec.nodeName".
	Fields Set
}

// Pair is one key with its value.
type Pair struct{ Key, Value string }

// Set is a small map, sorted by key. It satisfies the Labels and Fields interfaces of k8s.io/apimachinery. A Set is
// immutable once it is in a [Header].
type Set []Pair

// NewSet makes a Set of pairs in any order; it sorts them in place. Of two pairs with one key the later one stays.
func NewSet(pairs []Pair) Set {
	sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].Key < pairs[j].Key })
	out := pairs[:0]
	for _, p := range pairs {
		if n := len(out); n > 0 && out[n-1].Key == p.Key {
			out[n-1] = p
			continue
		}
		out = append(out, p)
	}
	return Set(out)
}

// Lookup returns the value of key and whether there is one. Most sets are so small that it is faster to go through them all:
// keys of different lengths are different without looking at them, which a comparison that orders them cannot see.
func (s Set) Lookup(key string) (string, bool) {
	if len(s) > fewPairs {
		i, ok := slices.BinarySearchFunc(s, key, func(p Pair, key string) int { return strings.Compare(p.Key, key) })
		if !ok {
			return "", false
		}
		return s[i].Value, true
	}
	for i := range s {
		if s[i].Key == key {
			return s[i].Value, true
		}
	}
	return "", false
}

const fewPairs = 16

// Has reports whether key is in the set.
func (s Set) Has(key string) bool { _, ok := s.Lookup(key); return ok }

// Get returns the value of key, "" when there is none.
func (s Set) Get(key string) string { v, _ := s.Lookup(key); return v }

// bytes estimates the memory that the set takes. Strings are counted as if they were not shared.
func (s Set) bytes() int64 {
	n := int64(len(s)) * 32
	for _, p := range s {
		n += int64(len(p.Key) + len(p.Value))
	}
	return n
}

// Record is what one key held from one revision on. Key, Revision and what Value returns never change. All methods may be called
// from any number of goroutines.
type Record struct {
	Key string
	// Revision is the revision of the change that made the record; for the record of a deletion, that of the deletion.
	Revision int64

	// value is replaced when it has been packed; see packer.
	value atomic.Pointer[stored]
	// parsed is replaced when a family comes or is replaced at run time, nil while no family knows the key.
	parsed atomic.Pointer[parsed]
	// asStored is what AsStored returns; it never changes.
	asStored bool
	// replaced is set when a newer record takes the record's place in the newest tree.
	replaced atomic.Bool
	// encodings holds what was encoded; see encodingCache for its invariants.
	encodings atomic.Pointer[[]*encoding]
	cache     *encodingCache
}

// parsed is what a family's Header function returned. Immutable.
type parsed struct {
	header Header
	err    error
}

// unparsed stands for records whose kind is not known. Never written to.
var unparsed = &parsed{}

// Value returns what the store holds: the object as it is stored. Nobody may change the bytes. Of a record that has been there
// for a while they are made anew each time.
func (r *Record) Value() []byte { return r.value.Load().value(nil) }

// ValueIn is Value for those who are done with it soon: what has to be made anew is made in the buffer, if it has room there.
func (r *Record) ValueIn(buffer []byte) []byte { return r.value.Load().value(buffer) }

// AsStored reports whether the writer of the value has found out that reading it would add nothing to it. What was written by others,
// or before the process began, is never so.
func (r *Record) AsStored() bool { return r.asStored }

// Size returns the length of Value, and costs nothing.
func (r *Record) Size() int { return r.value.Load().size }

func (r *Record) facts() *parsed {
	if p := r.parsed.Load(); p != nil {
		return p
	}
	return unparsed
}

// Header returns the parsed facts about the object, which must not be changed. It is never nil, and empty when no family
// knows the key or when the value could not be parsed (see Err).
func (r *Record) Header() *Header { return &r.facts().header }

// Err returns the error of the family's Header function, nil when the value could be parsed or no family knows the key.
func (r *Record) Err() error { return r.facts().err }

// Sizes of what is kept, in bytes; see bytes methods.
const (
	recordOverhead = 64 + 48 + 88 // Record, stored and parsed
	eventOverhead  = 48 + 96      // Event with its slots in logs, and its commit
)

// bytes estimates the memory that the record holds, its encodings left out.
func (r *Record) bytes() int64 {
	h := r.Header()
	return recordOverhead + int64(len(r.Key)+len(h.UID)) + r.value.Load().held() + h.Labels.bytes() + h.Fields.bytes()
}

package state

import "sync/atomic"

// Snapshot is everything there is at one revision, across all kinds. It is immutable; it keeps alive what it shows, so one
// should not be held for longer than a read takes. All methods may be called from any number of goroutines.
type Snapshot struct {
	revision int64
	root     *node
	facts    *atomic.Uint64 // State.facts; nil when there is no state
}

// Revision is the revision that the snapshot shows.
func (s *Snapshot) Revision() int64 { return s.revision }

// Get returns the record of key, nil when there is none. O(log n).
func (s *Snapshot) Get(key string) *Record { return s.root.get(key) }

// Ascend calls fn for every record whose key begins with prefix and is not smaller than from, in ascending order of keys,
// until fn returns false. To go on after a page, from is the last key plus "\x00"; "" begins at the beginning.
func (s *Snapshot) Ascend(prefix, from string, fn func(*Record) bool) {
	s.root.ascend(max(prefix, from), after(prefix), fn)
}

// Count returns how many records Ascend would visit. O(log n).
func (s *Snapshot) Count(prefix, from string) int {
	end := 0
	switch to := after(prefix); {
	case to != "":
		end = s.root.rank(to)
	case s.root != nil:
		end = s.root.count
	}
	return max(0, end-s.root.rank(max(prefix, from)))
}

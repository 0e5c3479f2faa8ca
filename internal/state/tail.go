package state

import "context"

// Tail is a place in the history of everything, across all families, of those that are known and those that are not. It is for
// what must see every change, such as garbage collection; who wants one kind takes a [Cursor]. It keeps no event alive, and needs
// no closing.
//
// Ownership: one goroutine at a time uses a tail.
// Invariant: every event with a revision in (that of the snapshot Tail came with, that of the last snapshot of Next] has been
// returned once.
type Tail struct {
	state   *State
	commits *log[commit]
	place   uint64
}

// Tail returns what there is, and a place after it.
func (s *State) Tail() (*Snapshot, *Tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Snapshot(), &Tail{state: s, commits: s.writing.commits, place: s.writing.commits.next.Load()}
}

// commitsPerCall is about how many revisions one call of Next returns at most.
const commitsPerCall = 256

// Next waits until there are changes and returns them, in order, with the snapshot after the last of them. It ends with the
// context's error, or with ErrExpired when the place is gone: then what changed meanwhile can only be found by comparing snapshots.
func (t *Tail) Next(ctx context.Context) ([]*Event, *Snapshot, error) {
	for {
		wake := t.commits.wake.wait()
		events, snapshot, err := t.read()
		if snapshot != nil || err != nil {
			return events, snapshot, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// read returns what there is; no snapshot when there is nothing.
func (t *Tail) read() (events []*Event, snapshot *Snapshot, _ error) {
	if t.commits.dead.Load() {
		return nil, nil, ErrExpired
	}
	published := t.state.published.Load()
	if published.commits != t.commits {
		return nil, nil, ErrExpired
	}
	for next := t.commits.next.Load(); t.place < next && len(events) < commitsPerCall; t.place++ {
		c := t.commits.at(t.place)
		if c == nil || c.events == nil { // dropped, or only a base by now
			return nil, nil, ErrExpired
		}
		if c.revision > published.snapshot.revision {
			break // not published yet: its wake is still to come
		}
		events = append(events, c.events...)
		snapshot = &Snapshot{revision: c.revision, root: c.root, facts: &t.state.facts}
	}
	return events, snapshot, nil
}

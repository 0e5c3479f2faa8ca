package state

// Event is one change of one key. Immutable.
type Event struct {
	Revision int64
	// Record is what the key holds after the change. For a deletion it is the last value, as a record whose Revision is that
	// of the deletion, so that its encodings can carry the deletion's resourceVersion.
	Record *Record
	// Previous is what the key held before, nil for a creation.
	Previous *Record
	// Deleted says that the key is gone after the change.
	Deleted bool
}

// commit is everything that happened at one revision, with the tree as it was then. The commits that are kept are the
// history: the tree at any revision since the first one is that of the newest commit not after it.
type commit struct {
	revision int64
	root     *node
	events   []*Event
	// bytes is the memory that the commit keeps alive beyond the newest tree: the records that its events replaced, the nodes
	// of the tree before that the tree after no longer has, and the events themselves.
	bytes int64
	one   [1]*Event // room for the usual number of events
}

func (c *commit) add(e *Event) {
	if c.events == nil {
		c.events = c.one[:0]
	}
	c.events = append(c.events, e)
	c.bytes += eventOverhead
	if e.Previous != nil {
		c.bytes += e.Previous.bytes()
	}
	if e.Deleted {
		c.bytes += recordOverhead
	}
}

// published is what readers see: the newest snapshot and the history that leads to it, always exchanged together.
//
// Invariant: commits holds at least one commit, the oldest of which is only a base: its tree can be read, its events are gone.
type published struct {
	snapshot *Snapshot
	commits  *log[commit]
}

// floor returns the revision of the base: the oldest that can be read, and that a watch can start after.
func (p *published) floor() int64 {
	for {
		if c := p.commits.at(p.commits.first.Load()); c != nil {
			return c.revision
		}
		if p.commits.dead.Load() {
			return p.snapshot.revision
		}
	}
}

// at returns the tree of a revision that is not after the snapshot's, and false when it is no longer kept.
func (p *published) at(revision int64) (*node, bool) {
	for !p.commits.dead.Load() {
		next := p.commits.search(func(c *commit) bool { return c.revision > revision })
		if next > 0 {
			if c := p.commits.at(next - 1); c != nil && c.revision <= revision {
				return c.root, true
			}
		}
		if c := p.commits.at(p.commits.first.Load()); c != nil && c.revision > revision {
			return nil, false
		}
		// The history was trimmed during the search: look again.
	}
	return nil, false
}

// record appends a commit to the history and its events to the logs of their families, and trims the history.
// State.mu is held.
func (s *State) record(c *commit) {
	s.writing.commits.append(c)
	s.writing.historyBytes += c.bytes
	for _, e := range c.events {
		s.eachLog(e, func(l *log[Event]) {
			l.append(e)
			if !l.stale {
				l.stale = true
				s.writing.stale = append(s.writing.stale, l)
			}
		})
	}
	for s.writing.historyBytes > s.options.HistoryBytes && s.writing.commits.len() > 1 {
		s.trim()
	}
}

// trim drops the base of the history; the next commit becomes the base. State.mu is held.
func (s *State) trim() {
	commits := s.writing.commits
	commits.popFirst()
	c := commits.at(commits.first.Load())
	commits.replaceFirst(&commit{revision: c.revision, root: c.root})
	s.writing.historyBytes -= c.bytes
	for _, e := range c.events {
		s.eachLog(e, func(l *log[Event]) { dropThrough(l, c.revision) })
		s.forget(e)
	}
}

// forget lets go of the encodings of the records that were kept only for the sake of e.
func (s *State) forget(e *Event) {
	if e.Previous != nil {
		s.encodings.release(e.Previous)
	}
	if e.Deleted {
		s.encodings.release(e.Record)
	}
}

// eachLog calls fn for every log that an event belongs to, once each. State.mu is held.
func (s *State) eachLog(e *Event, fn func(*log[Event])) {
	if f := s.families.Load().of(e.Record.Key); f != nil {
		f.eachLog(e, fn)
	}
}

// DropHistory drops the history up to a revision, as far as it has been applied: what was before cannot be read or watched any
// more, and cursors that have not come as far are expired.
func (s *State) DropHistory(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for commits := s.writing.commits; commits.len() > 1; {
		if next := commits.at(commits.first.Load() + 1); next == nil || next.revision > revision {
			return
		}
		s.trim()
	}
}

package state

import "github.com/kayak-k8s/kayak/internal/store"

// portionSize is about how many events are applied at a time, so that whoever else needs State.mu never waits long.
const portionSize = 256

// apply applies a batch of the store's watch.
func (s *State) apply(batch store.Batch) {
	events := batch.Events
	for len(events) > portionSize {
		n := portionSize
		for n < len(events) && events[n].Revision == events[n-1].Revision {
			n++
		}
		s.applyPortion(events[:n], events[n-1].Revision)
		events = events[n:]
	}
	s.applyPortion(events, batch.Revision)
}

// arrival is an event of the store, with the record that it makes; nil for a deletion.
type arrival struct {
	store.Event
	record *Record
}

// arrivals parses what came. It is called before State.mu is taken; families are those that it parsed for.
func (s *State) arrivals(events []store.Event) (arrived []arrival, families *families) {
	families = s.families.Load()
	arrived = make([]arrival, len(events))
	for i, e := range events {
		arrived[i].Event = e
		if !e.Deleted() {
			arrived[i].record = s.newRecord(*families, store.KV(e))
			s.keepPromise(arrived[i].record, e.Value)
			s.packer.add(arrived[i].record)
		}
	}
	return arrived, families
}

// applyPortion applies events, in the order of their revisions, and publishes the result at a revision. What was applied
// before is left out.
func (s *State) applyPortion(events []store.Event, revision int64) {
	arrived, families := s.arrivals(events)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.families.Load(); now != families { // families came or went in between
		for _, a := range arrived {
			if a.record != nil {
				a.record.parsed.Store(now.of(a.Key).parse(a.Key, a.Value))
			}
		}
	}
	applied := s.Snapshot().revision
	for len(arrived) > 0 {
		n := 1
		for n < len(arrived) && arrived[n].Revision == arrived[0].Revision {
			n++
		}
		if arrived[0].Revision > applied {
			s.commit(arrived[:n])
			revision = max(revision, arrived[0].Revision)
		}
		arrived = arrived[n:]
	}
	if revision > applied {
		s.publish(revision)
	}
}

// commit applies the events of one revision. State.mu is held.
func (s *State) commit(arrived []arrival) {
	c := &commit{revision: arrived[0].Revision}
	var ed editor
	for i := range arrived {
		if e := s.change(&ed, &arrived[i]); e != nil {
			c.add(e)
		}
	}
	if len(c.events) == 0 {
		return
	}
	c.root = s.writing.root
	c.bytes += ed.replaced
	s.record(c)
}

// change applies one event to the newest tree; nil when it changed nothing. State.mu is held.
func (s *State) change(ed *editor, in *arrival) *Event {
	e := &Event{Revision: in.Revision, Deleted: in.Deleted()}
	if !e.Deleted {
		e.Record = in.record
		s.writing.root, e.Previous = ed.put(s.writing.root, e.Record)
		if e.Previous != nil {
			e.Previous.replaced.Store(true)
		}
		return e
	}
	s.writing.root, e.Previous = ed.remove(s.writing.root, in.Key)
	if e.Previous == nil {
		return nil
	}
	e.Previous.replaced.Store(true)
	e.Record = &Record{Key: e.Previous.Key, Revision: in.Revision, cache: s.encodings, asStored: e.Previous.asStored}
	e.Record.value.Store(e.Previous.value.Load())
	s.packer.add(e.Record)
	e.Record.parsed.Store(e.Previous.parsed.Load())
	return e
}

func (s *State) newRecord(fs families, kv store.KV) *Record {
	r := &Record{Key: kv.Key, Revision: kv.Revision, cache: s.encodings}
	r.value.Store(plain(kv.Value))
	r.parsed.Store(fs.of(kv.Key).parse(kv.Key, kv.Value))
	return r
}

// publish makes the newest tree visible, as that of a revision, and tells everybody who waits for it. State.mu is held.
func (s *State) publish(revision int64) {
	s.published.Store(&published{
		snapshot: &Snapshot{revision: revision, root: s.writing.root, facts: &s.facts},
		commits:  s.writing.commits,
	})
	for i, l := range s.writing.stale {
		l.stale = false
		l.wake.send()
		s.writing.stale[i] = nil
	}
	s.writing.stale = s.writing.stale[:0]
	s.writing.commits.wake.send()
	s.waiters.reached(revision)
}

// restart begins anew with a tree at a revision: the history is empty, every cursor is expired. State.mu is held, or the
// state is new.
func (s *State) restart(root *node, revision int64) {
	old := s.writing
	s.writing = writing{root: root, commits: new(log[commit])}
	s.writing.commits.append(&commit{revision: revision, root: root})
	if old.commits != nil {
		s.retire(old)
	}
	fs := make(families)
	for prefix, f := range *s.families.Load() {
		f.kill()
		fs[prefix] = newFamily(f.Family)
	}
	s.families.Store(&fs)
	s.promises.clear()
	s.publish(revision)
}

// retire lets go of what is not in the newest tree any more. State.mu is held.
func (s *State) retire(old writing) {
	for i := old.commits.first.Load(); i < old.commits.next.Load(); i++ {
		for _, e := range old.commits.at(i).events {
			s.forget(e)
		}
	}
	old.commits.kill()
	old.root.ascend("", "", func(r *Record) bool {
		if s.writing.root.get(r.Key) != r {
			s.encodings.release(r)
		}
		return true
	})
}

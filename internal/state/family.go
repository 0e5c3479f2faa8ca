package state

import (
	"slices"
	"strings"
	"sync/atomic"
)

// Family describes the objects of one kind: all keys under one prefix. Families do not overlap.
type Family struct {
	// Prefix is the full key prefix, such as "/registry/pods/". It ends with "/".
	Prefix string
	// Header reads the header out of a stored value. It must be pure. It is called by one goroutine for each change, and by
	// several when everything is loaded. When it fails, the record is kept with an empty header, and with the error. The
	// header's strings must be small copies: a substring of the whole value as a string would keep a second copy of it alive.
	Header func(key string, value []byte) (Header, error)
	// Index names the fields (of Header.Fields) that watchers may be indexed by, such as "spec.nodeName".
	Index []string
}

// family is a Family with the logs of its events.
//
// Ownership: State.mu guards the maps of topics and all writing to logs.
// Invariant: log holds the family's events that are in the history, in order.
// Invariant: a topic exists while a cursor uses it, and holds those events of log that belong to it and were appended since
// it exists.
type family struct {
	Family
	log      *log[Event]
	byKey    map[string]*topic
	byPrefix map[string]*topic
	// byField has, for every field in Index, the topics by value.
	byField []map[string]*topic
	// wants counts those who watch by the encoding that they ask for; wanted lists the keys of wants, for looking without State.mu.
	wants  map[string]int
	wanted atomic.Pointer[[]string]
}

// topic is the log of the events that match one filter, for the cursors that wait for nothing else.
type topic struct {
	log   log[Event]
	users int
}

func newFamily(f Family) *family {
	f.Index = slices.Clone(f.Index)
	out := &family{
		Family: f, log: new(log[Event]), byKey: map[string]*topic{}, byPrefix: map[string]*topic{},
		byField: make([]map[string]*topic, len(f.Index)),
	}
	for i := range out.byField {
		out.byField[i] = map[string]*topic{}
	}
	return out
}

// parse reads the facts out of a value.
func (f *family) parse(key string, value []byte) *parsed {
	if f == nil || f.Header == nil {
		return nil
	}
	h, err := f.Header(key, value)
	if err != nil {
		return &parsed{err: err}
	}
	return &parsed{header: h}
}

// kill ends all logs: every cursor is expired.
func (f *family) kill() {
	f.log.kill()
	for _, topics := range append([]map[string]*topic{f.byKey, f.byPrefix}, f.byField...) {
		for _, t := range topics {
			t.log.kill()
		}
	}
}

// eachLog calls fn for every log that an event belongs to, once each.
func (f *family) eachLog(e *Event, fn func(*log[Event])) {
	fn(f.log)
	call := func(topics map[string]*topic, name string) {
		if t := topics[name]; t != nil {
			fn(&t.log)
		}
	}
	key := e.Record.Key
	if len(f.byKey) > 0 {
		call(f.byKey, key)
	}
	if len(f.byPrefix) > 0 {
		for i := len(f.Prefix); i < len(key); i++ {
			if key[i] == '/' {
				call(f.byPrefix, key[:i+1])
			}
		}
	}
	for i, topics := range f.byField {
		if len(topics) == 0 {
			continue
		}
		now := e.Record.Header().Fields.Get(f.Index[i])
		call(topics, now)
		if e.Previous == nil {
			continue
		}
		if was := e.Previous.Header().Fields.Get(f.Index[i]); was != now {
			call(topics, was)
		}
	}
}

// topics returns the map and the name of the topic that serves a filter best, or nil when only the family's log does.
func (f *family) topics(filter Filter) (topics map[string]*topic, name string) {
	if filter.Exact {
		return f.byKey, filter.Prefix
	}
	if i := slices.Index(f.Index, filter.Field); filter.Field != "" && i >= 0 {
		return f.byField[i], filter.Value
	}
	if len(filter.Prefix) > len(f.Prefix) && strings.HasSuffix(filter.Prefix, "/") {
		return f.byPrefix, filter.Prefix
	}
	return nil, ""
}

// families is an immutable set of families.
type families map[string]*family

// of returns the family that key (or a prefix of keys) belongs to, nil when there is none.
func (fs families) of(key string) *family {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] != '/' {
			continue
		}
		if f := fs[key[:i+1]]; f != nil {
			return f
		}
	}
	return nil
}

// AddFamily makes a kind known. Records that are there already get their headers now, and the events that are still kept can
// be watched. A family with the same prefix is replaced, and cursors in it are expired. What is there is parsed, on all cores,
// before changes have to wait; for them then remains little more than what came meanwhile.
func (s *State) AddFamily(def Family) {
	f := newFamily(def)
	ready := f.parseAll(s.Snapshot())
	parse := func(r *Record) {
		facts, ok := ready[r]
		if !ok {
			facts = f.parse(r.Key, r.Value())
		}
		r.parsed.Store(facts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropFamily(def.Prefix)
	s.swapFamilies(func(fs families) { fs[f.Prefix] = f })
	s.writing.root.ascend(f.Prefix, after(f.Prefix), func(r *Record) bool {
		parse(r)
		return true
	})
	s.eachKept(func(e *Event) {
		if !strings.HasPrefix(e.Record.Key, f.Prefix) {
			return
		}
		if e.Previous != nil {
			parse(e.Previous)
		}
		parse(e.Record)
		f.log.append(e)
	})
	s.facts.Add(1)
}

// parseAll parses the family's records in a snapshot, and leaves the records as they are.
func (f *family) parseAll(snapshot *Snapshot) map[*Record]*parsed {
	var records []*Record
	snapshot.Ascend(f.Prefix, "", func(r *Record) bool {
		records = append(records, r)
		return true
	})
	facts := make([]*parsed, len(records))
	inParallel(len(records), func(i int) { facts[i] = f.parse(records[i].Key, records[i].Value()) })
	all := make(map[*Record]*parsed, len(records))
	for i, r := range records {
		all[r] = facts[i]
	}
	return all
}

// RemoveFamily forgets a kind: cursors in it are expired. Records stay, with the headers that they have, until the store
// deletes them. Removing a family that is not there does nothing.
func (s *State) RemoveFamily(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropFamily(prefix)
}

func (s *State) dropFamily(prefix string) {
	f := (*s.families.Load())[prefix]
	if f == nil {
		return
	}
	s.swapFamilies(func(fs families) { delete(fs, prefix) })
	f.kill()
}

// swapFamilies exchanges the set of families for a changed copy. State.mu is held.
func (s *State) swapFamilies(change func(families)) {
	next := make(families)
	for prefix, f := range *s.families.Load() {
		next[prefix] = f
	}
	change(next)
	s.families.Store(&next)
}

// eachKept calls fn for every event of the history, in order. State.mu is held.
func (s *State) eachKept(fn func(*Event)) {
	commits := s.writing.commits
	for i := commits.first.Load(); i < commits.next.Load(); i++ {
		for _, e := range commits.at(i).events {
			fn(e)
		}
	}
}

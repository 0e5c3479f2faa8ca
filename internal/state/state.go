// Package state keeps every object in memory, as one ordered log applied to one copy-on-write tree.
//
// The state follows a store (package store) with one range and one watch. Each change becomes a [Record], goes into the tree
// that maps keys to records, and is appended to the log. Both are published together, at a revision, as a [Snapshot]: one
// pointer to everything there is at one moment, across all kinds. So
//
//   - a consistent read asks the store for its newest revision and waits until the state has applied it ([State.Consistent]);
//     reads that wait at the same time share one such question;
//   - a page, a read at an exact revision and the start of a watch are reads of a snapshot ([State.At]), which stay possible
//     for as long as the log goes back;
//   - a watcher is a [Cursor]: a position in the log. It holds nothing but itself, so a slow one can only fall behind by
//     itself; when its place is gone it gets [ErrExpired].
//
// The state knows nothing of HTTP or of kinds. A [Family] tells it which keys belong together (the objects of one kind share
// a key prefix) and how to read the few facts that selectors ask for ([Header]) out of a stored value.
//
// # Concurrency
//
// One goroutine, in [State.Run], applies changes. Everything it publishes is immutable, but for what records keep encoded
// (see [Record.Encoding]). All methods may be called from any number of goroutines.
//
// # The tree and the log
//
// All records, of all kinds, are in one persistent B+tree ordered by key; a kind is a range of keys. A change copies the path
// from its leaf to the root, about 1.5 KB at 100,000 records, and shares the rest with the trees before. Every revision in
// the log keeps its root, so a read at an old revision is a binary search and then a read like any other.
//
// Events are in the log of their family as well, and in the logs of those topics that cursors wait for at the moment: one
// name, one namespace, one value of an indexed field. A cursor in a topic is not woken by anything else. Readers of logs
// take no lock.
//
// # Memory
//
// The newest tree holds what the store holds, packed once it has been there for some seconds (see packer), plus about 250 bytes and
// the header's strings for each record. What is kept
// for history is bounded by Options.HistoryBytes: the oldest revision is dropped first, whoever may still want it. What is
// kept encoded is bounded by Options.EncodingBytes, and is let go at the latest when its record leaves the history.
//
// # When the store is away
//
// When the watch breaks, Run reconnects and goes on where it was. When the store has meanwhile compacted the revision it was
// at, Run ranges again: the tree becomes what the store holds, the log starts anew, and every cursor and every older
// snapshot is expired, because changes may have been missed. Until the watch stands, [State.Synced] is false and reads that
// must be consistent fail with the store's error; nothing is made up.
package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/kayak-k8s/kayak/internal/store"
)

var (
	// ErrExpired says that a revision, or a place in the history, is no longer kept.
	ErrExpired = errors.New("state: revision is no longer kept")
	// ErrNoFamily says that no family has the prefix that was asked for.
	ErrNoFamily = errors.New("state: no such family")
)

// FutureError says that a revision does not exist yet, or did not come before the context ended.
type FutureError struct{ Asked, Current int64 }

func (e *FutureError) Error() string {
	return fmt.Sprintf("state: revision %d does not exist yet, current is %d", e.Asked, e.Current)
}

// Defaults of Options.
const (
	defaultHistoryBytes  = 128 << 20
	defaultEncodingBytes = 64 << 20
	defaultPageSize      = 1000
)

// Options configure a State.
type Options struct {
	Store store.Store
	// Prefix selects the keys to follow, such as "/registry/".
	Prefix string
	// Families are the kinds known from the start; see AddFamily for those that come later.
	Families []Family
	// HistoryBytes bounds what the history keeps in memory beyond the newest tree: records that were replaced or deleted,
	// replaced nodes of the tree, and events. Together they are an estimate of the true size, logs' slots included and what
	// the allocator wastes left out. 0 means 128 MiB.
	HistoryBytes int64
	// EncodingBytes bounds what all records together keep encoded; see Record.Encoding. 0 means 64 MiB.
	EncodingBytes int64
	// Logger is told when the store is lost, found again and loaded; nil means silence.
	Logger *slog.Logger
	// PageSize is how many keys one Range asks for at most while loading. 0 means 1000.
	PageSize int64
}

// State follows a store; see the package comment.
//
// Ownership: mu guards writing, and all writing to the logs and topics of families. Run's goroutine applies changes under it;
// AddFamily, RemoveFamily, Watch and Cursor.Close take it for a moment. Reading takes no lock.
// Invariant: published only moves on: its revision never falls, unless the store itself has lost revisions.
// Invariant: what published shows is in the logs before it is published.
type State struct {
	options   Options
	log       *slog.Logger
	encodings *encodingCache
	families  atomic.Pointer[families]
	published atomic.Pointer[published]
	running   atomic.Bool
	synced    gate
	facts     atomic.Uint64 // counts when records that are in trees may have got other headers
	waiters   waiters
	questions questions
	promises  promises
	packer    *packer
	always    chan struct{} // closed

	mu      sync.Mutex
	writing writing
}

// writing is what only writers look at.
type writing struct {
	root         *node         // the newest tree
	commits      *log[commit]  // the history
	historyBytes int64         // the sum of the bytes of commits
	loaded       bool          // the tree is what the store held; false again when changes may have been missed
	stale        []*log[Event] // the logs whose waiters are to be told
}

// New returns a state that is empty, at revision 0, until Run has loaded it.
func New(options Options) *State {
	setDefault(&options.HistoryBytes, defaultHistoryBytes)
	setDefault(&options.EncodingBytes, defaultEncodingBytes)
	setDefault(&options.PageSize, defaultPageSize)
	s := &State{
		options: options, log: options.Logger, encodings: newEncodingCache(options.EncodingBytes), always: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.packer = newPacker(func() *families { return s.families.Load() })
	close(s.always)
	s.questions.ask = options.Store.Revision
	fs := make(families)
	for _, f := range options.Families {
		fs[f.Prefix] = newFamily(f)
	}
	s.families.Store(&fs)
	s.restart(nil, 0)
	return s
}

func setDefault(v *int64, to int64) {
	if *v == 0 {
		*v = to
	}
}

// Snapshot returns what was applied last, without asking the store. It is never nil; before the first load it is empty and
// at revision 0.
func (s *State) Snapshot() *Snapshot { return s.published.Load().snapshot }

// At returns the snapshot of exactly this revision, ErrExpired when it is no longer kept, and a *FutureError when it has not
// been applied yet.
func (s *State) At(revision int64) (*Snapshot, error) {
	p := s.published.Load()
	switch {
	case revision == p.snapshot.revision:
		return p.snapshot, nil
	case revision > p.snapshot.revision:
		return nil, &FutureError{Asked: revision, Current: p.snapshot.revision}
	}
	root, ok := p.at(revision)
	if !ok {
		return nil, ErrExpired
	}
	return &Snapshot{revision: revision, root: root, facts: &s.facts}, nil
}

// Floor returns the oldest revision that a watch can start after and that At can serve.
func (s *State) Floor() int64 { return s.published.Load().floor() }

// EncodingBytes returns what Options.EncodingBytes bounds encodings to.
func (s *State) EncodingBytes() int64 { return s.options.EncodingBytes }

// Synced reports whether the state has everything and follows the store: it is loaded, and has since the watch was
// last begun caught up with the revision that the store had then.
func (s *State) Synced() bool { return s.synced.open() }

// WaitSynced waits until Synced, or returns the context's error.
func (s *State) WaitSynced(ctx context.Context) error { return s.synced.wait(ctx) }

// Stats are numbers about the memory that a state keeps. Sizes are in bytes.
type Stats struct {
	Revision, Floor int64
	// Records is the number of records in the newest tree.
	Records int
	// Events is the number of events that can still be watched; HistoryBytes is what Options.HistoryBytes bounds.
	Events       int
	HistoryBytes int64
	// Encodings is the number of encodings kept; EncodingBytes is what Options.EncodingBytes bounds.
	Encodings     int
	EncodingBytes int64
}

// Stats returns the state's numbers. It takes time in proportion to the length of the history.
func (s *State) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.published.Load()
	stats := Stats{Revision: p.snapshot.revision, Floor: p.floor(), HistoryBytes: s.writing.historyBytes}
	if p.snapshot.root != nil {
		stats.Records = p.snapshot.root.count
	}
	s.eachKept(func(*Event) { stats.Events++ })
	stats.EncodingBytes, stats.Encodings = s.encodings.size()
	return stats
}

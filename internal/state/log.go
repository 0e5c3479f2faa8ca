package state

import (
	"sync"
	"sync/atomic"
)

// chunkSize is how many entries a chunk of a log has room for.
const chunkSize = 64

// log is a queue of entries numbered from 0 on, of which those in [first, next) are kept. Entries are appended by one writer
// at a time and read without locks by any number of readers. A reader's place is a number, so it keeps no entry alive.
//
// Ownership: State.mu guards all writing (append, popFirst, replaceFirst, kill) and stale.
// Invariant: an entry is complete and in its slot before next passes it; its slot is emptied only after first has passed it.
// So a reader that finds nothing in a slot before next knows that the entry has been dropped.
// Invariant: a table is immutable in the part that its readers may look at (the chunks that existed when it was published).
type log[T any] struct {
	first, next atomic.Uint64
	table       atomic.Pointer[table[T]]
	// dead says that the log has ended: nothing is in it and nothing will be.
	dead atomic.Bool
	wake broadcast
	// stale says that something was appended and those who wait have not been told.
	stale bool
}

type chunk[T any] [chunkSize]atomic.Pointer[T]

// table lists the chunks that are kept; the first one begins with entry number base, a multiple of chunkSize.
type table[T any] struct {
	base   uint64
	chunks []*chunk[T]
}

// at returns entry number i, nil when it has been dropped or is not there yet.
func (l *log[T]) at(i uint64) *T {
	t := l.table.Load()
	if t == nil || i < t.base {
		return nil
	}
	n := (i - t.base) / chunkSize
	if n >= uint64(len(t.chunks)) {
		return nil
	}
	return t.chunks[n][i%chunkSize].Load()
}

func (l *log[T]) len() int { return int(l.next.Load() - l.first.Load()) }

func (l *log[T]) append(entry *T) {
	i := l.next.Load()
	t := l.table.Load()
	if t == nil || i == t.base+uint64(len(t.chunks))*chunkSize {
		t = t.grown(i)
		l.table.Store(t)
	}
	t.chunks[(i-t.base)/chunkSize][i%chunkSize].Store(entry)
	l.next.Store(i + 1)
}

// grown returns a table with room for entry number i, the first one that t has no room for.
func (t *table[T]) grown(i uint64) *table[T] {
	if t == nil || len(t.chunks) == 0 {
		return &table[T]{base: i - i%chunkSize, chunks: []*chunk[T]{new(chunk[T])}}
	}
	return &table[T]{base: t.base, chunks: append(t.chunks, new(chunk[T]))}
}

// popFirst drops the oldest entry, of which there is one.
func (l *log[T]) popFirst() {
	i := l.first.Load()
	l.first.Store(i + 1)
	t := l.table.Load()
	t.chunks[0][i%chunkSize].Store(nil)
	if (i+1)%chunkSize == 0 {
		// A copy, so that the chunk is not kept alive by the array that it was in.
		l.table.Store(&table[T]{base: t.base + chunkSize, chunks: append([]*chunk[T](nil), t.chunks[1:]...)})
	}
}

// replaceFirst puts another entry in the place of the oldest.
func (l *log[T]) replaceFirst(entry *T) {
	i := l.first.Load()
	l.table.Load().chunks[0][i%chunkSize].Store(entry)
}

// kill ends the log and lets go of what is in it.
func (l *log[T]) kill() {
	l.dead.Store(true)
	l.first.Store(l.next.Load())
	l.table.Store(nil)
	l.wake.send()
}

// search returns the number of the first entry for which is returns true; is must be false for the entries before some place
// and true from there on. Entries that are dropped meanwhile count as false.
func (l *log[T]) search(is func(*T) bool) uint64 {
	lo, hi := l.first.Load(), l.next.Load()
	for lo < hi {
		mid := lo + (hi-lo)/2
		if e := l.at(mid); e != nil && is(e) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// dropThrough drops the events of an event log up to and including a revision.
func dropThrough(l *log[Event], revision int64) {
	for l.first.Load() < l.next.Load() && l.at(l.first.Load()).Revision <= revision {
		l.popFirst()
	}
}

// broadcast wakes everybody who waits for something to happen, and costs two atomic reads when nobody does.
//
// Ownership: mu guards the list that begins with first; count is its length, for looking without the lock.
// Invariant: a channel is closed once, by the send that took it out. Who waits must take the channel first, or add itself as a
// listener, and look for what it waits for afterwards; who sends must first make it happen.
type broadcast struct {
	channel atomic.Pointer[chan struct{}]

	count atomic.Int32
	mu    sync.Mutex
	first *listener
}

// listener is told of every send, by a function that neither waits nor asks the state anything.
type listener struct {
	wake           func()
	next, previous *listener
}

func (b *broadcast) add(l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.next = b.first; l.next != nil {
		l.next.previous = l
	}
	b.first = l
	b.count.Add(1)
}

func (b *broadcast) remove(l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.next != nil {
		l.next.previous = l.previous
	}
	if l.previous != nil {
		l.previous.next = l.next
	} else {
		b.first = l.next
	}
	b.count.Add(-1)
}

func (b *broadcast) tellListeners() {
	if b.count.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := b.first; l != nil; l = l.next {
		l.wake()
	}
}

// wait returns a channel that the next send closes.
func (b *broadcast) wait() <-chan struct{} {
	for {
		if c := b.channel.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if b.channel.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

func (b *broadcast) send() {
	b.tellListeners()
	if b.channel.Load() == nil {
		return
	}
	if c := b.channel.Swap(nil); c != nil {
		close(*c)
	}
}

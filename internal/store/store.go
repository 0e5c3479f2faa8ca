// Package store is the contract between kayak and the place where its objects are kept.
//
// A store is what etcd is: a flat, ordered map from keys to values in which every change has a revision, one number that
// only grows and that all keys share. kayak needs little of it:
//
//   - conditional writes of a single key ([Store.Put], [Store.Delete]): a writer names the revision of the key that it has
//     seen, and the write happens only while that still is the key's revision. Nothing in kayak locks; everything that must
//     not be lost is decided here.
//   - one range over a prefix at one revision ([Store.Range]) and one watch from the next revision on ([Store.Watch]): the
//     state (package state) follows the whole keyspace with these two and serves every read from memory.
//   - the newest revision ([Store.Revision]): a read that must be consistent asks for it, then waits until the state has
//     applied it.
//
// Implementations: store/embedded runs a single etcd member inside the process, store/etcd talks to an etcd cluster, and
// store/memory keeps everything in memory, for tests. All three pass the same suite, package storetest.
//
// # Promises
//
//   - Durable: a Put or Delete that returned nil survives kill -9 (not in memory).
//   - Linearizable: Put, Delete, Get and Revision behave as if each happened at one moment between its call and its return.
//     Range and Watch at a revision show exactly what was committed at that revision.
//   - Ordered, complete, without repetition: Watch delivers every change of a key under the prefix, in revision order, once.
//   - Values are immutable: neither side changes a value after it was handed over. Values may therefore be shared freely.
//
// # Errors
//
// Every error is, in the sense of errors.Is or errors.As, one of [*Conflict], [ErrNotFound], [ErrCompacted],
// [ErrFutureRevision], [ErrNoSpace], [ErrTooLarge], [ErrUnavailable] or the context's own error. After ErrUnavailable,
// ErrNoSpace or the context's error, a write may or may not have happened; after every other error it has not. (ErrNoSpace:
// of the writes that race for the last free bytes, etcd does one and still answers that there is no space.)
package store

import (
	"context"
	"errors"
	"fmt"
)

// KV is a key with its value at a revision.
type KV struct {
	Key string
	// Value is immutable: nobody changes it once the KV was handed over.
	Value []byte
	// Revision is the revision of the change that gave the key this value (etcd's ModRevision). It becomes the object's
	// metadata.resourceVersion.
	Revision int64
}

// RangeOptions say which keys Range returns.
type RangeOptions struct {
	// Prefix selects the keys that begin with it.
	Prefix string
	// From, when set, leaves out the keys that sort before it. To go on after a page, it is the last key plus "\x00".
	From string
	// Limit is the largest number of keys in the page; 0 means no limit.
	Limit int64
	// Revision is the revision to read at; 0 means the newest one.
	Revision int64
}

// Page is an answer of Range.
type Page struct {
	// KVs are in ascending order of their keys.
	KVs []KV
	// Revision is the one that the page was read at: RangeOptions.Revision, or the newest when that was 0.
	Revision int64
	// More says that Limit cut the page short.
	More bool
}

// Event is one change of one key.
type Event struct {
	Key string
	// Value is the new value, nil when the key was deleted.
	Value []byte
	// Revision is the revision of the change. A transaction of another program may change several keys at one revision.
	Revision int64
}

// Deleted reports whether the event removed the key.
func (e Event) Deleted() bool { return e.Value == nil }

// Batch is one delivery of a watch.
type Batch struct {
	// Events are in revision order; those of one revision are all in the same batch. There may be none: then the batch only
	// says how far the watch has come.
	Events []Event
	// Revision says that every change up to and including it has been delivered, in this batch or before.
	Revision int64
}

// PutOptions refine Put.
type PutOptions struct {
	// TTLSeconds, when positive, lets the key disappear about that many seconds after this write (never much earlier, and by
	// at most a few percent and a lease's reuse time later). The next Put of the key decides anew.
	TTLSeconds int64
}

// Status describes the health and size of a store.
type Status struct {
	// SizeBytes is the size of the database; UsedBytes is the part of it that holds data. Both are 0 in memory.
	SizeBytes, UsedBytes int64
	// QuotaBytes is the size at which writes are refused with ErrNoSpace; 0 means unknown or none.
	QuotaBytes int64
}

// Store is the contract. All methods may be called from any number of goroutines.
type Store interface {
	// Revision returns the newest committed revision.
	Revision(ctx context.Context) (int64, error)

	// Get returns the newest value of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (KV, error)

	// Range returns one page of keys. ErrCompacted when opts.Revision is no longer kept, ErrFutureRevision when it does not
	// exist yet. ErrTooLarge when the page is larger than the store can hand over at once: a smaller Limit may help.
	Range(ctx context.Context, opts RangeOptions) (Page, error)

	// Put writes value (never nil) if the key's revision is still expect, where 0 means that the key must not exist, and
	// returns the new revision. Otherwise it returns a *Conflict, which carries what the key holds instead.
	Put(ctx context.Context, key string, value []byte, expect int64, opts PutOptions) (int64, error)

	// Delete removes the key if its revision is still expect (which is positive), and returns the revision of the removal.
	// Otherwise it returns a *Conflict.
	Delete(ctx context.Context, key string, expect int64) (int64, error)

	// Watch calls deliver, from one goroutine at a time, for every change of a key under prefix at revision from (positive)
	// or later, until ctx ends, deliver fails or the watch is lost, and returns why. Batches arrive for every committed
	// revision, also when no key under prefix changed, so that a caller that waits for a revision never waits long.
	// ErrCompacted when from is no longer kept: the caller must range again. ErrFutureRevision when from is beyond the next
	// revision, which happens to a caller that goes on after etcd was restored from a backup: it must range again, too.
	Watch(ctx context.Context, prefix string, from int64, deliver func(Batch) error) error

	// Compact drops what is needed only to read revisions before rev. Compacting a revision again is no error.
	Compact(ctx context.Context, rev int64) error

	// Status describes the store; an error means that it cannot be reached or does not serve writes and reads.
	Status(ctx context.Context) (Status, error)

	// Close releases everything; watches end with an error.
	Close() error
}

// Conflict is the error of a conditional write whose condition does not hold.
type Conflict struct {
	Key    string
	Expect int64
	// Current is what the key holds, nil when it does not exist.
	Current *KV
}

func (c *Conflict) Error() string {
	if c.Current == nil {
		return fmt.Sprintf("store: %s does not exist, expected revision %d", c.Key, c.Expect)
	}
	return fmt.Sprintf("store: %s is at revision %d, expected %d", c.Key, c.Current.Revision, c.Expect)
}

var (
	// ErrNotFound says that a key does not exist.
	ErrNotFound = errors.New("store: key not found")
	// ErrCompacted says that a revision is no longer kept.
	ErrCompacted = errors.New("store: revision has been compacted")
	// ErrFutureRevision says that a revision does not exist yet.
	ErrFutureRevision = errors.New("store: revision is in the future")
	// ErrNoSpace says that the database has reached its size quota. Reads and deletes still work.
	ErrNoSpace = errors.New("store: database space exceeded")
	// ErrTooLarge says that a value is larger than the store accepts.
	ErrTooLarge = errors.New("store: request is too large")
	// ErrUnavailable says that the store could not be reached or lost its leader. A write may or may not have happened.
	ErrUnavailable = errors.New("store: unavailable")
)

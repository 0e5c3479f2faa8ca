package etcdkv

import (
	"bytes"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/kayak-k8s/kayak/internal/store"
)

// Feed turns the responses of a watch over the whole keyspace into batches of the events under one prefix.
//
// The whole keyspace is watched because then every committed revision is seen: etcd's revision advances exactly by the
// transactions that change something. That tells a caller how far the watch has come, and lets Feed check that nothing is
// missing: revisions must follow each other without a gap. A Feed belongs to one goroutine.
type Feed struct {
	prefix []byte
	// next is the revision that the next new event must have.
	next int64
}

// NewFeed returns a Feed for the events under prefix from revision from on. (An empty etcd is at revision 1, so the first
// change is at revision 2.)
func NewFeed(prefix string, from int64) *Feed {
	return &Feed{prefix: []byte(prefix), next: max(from, 2)}
}

// WholeKeyspace is the range that a Feed must be fed with, in the form of etcd's gRPC API.
func WholeKeyspace() (key, end []byte) { return []byte{0}, []byte{0} }

// Append adds the events of one response to the batch. etcd never splits a revision between responses. Events that were
// seen before are left out; a gap is store.ErrCompacted, since what is missing can only be made up for by ranging again.
func (f *Feed) Append(batch *store.Batch, events []*mvccpb.Event) error {
	var current int64 // the revision whose events are being taken
	for _, e := range events {
		switch rev := e.Kv.ModRevision; {
		case rev == current:
		case rev < f.next:
			continue // delivered before
		case rev > f.next:
			return fmt.Errorf("%w: the watch expected revision %d and got %d", store.ErrCompacted, f.next, rev)
		default:
			current, f.next, batch.Revision = rev, rev+1, rev
		}
		if !bytes.HasPrefix(e.Kv.Key, f.prefix) {
			continue
		}
		event := store.Event{Key: string(e.Kv.Key), Revision: e.Kv.ModRevision}
		if e.Type == mvccpb.Event_PUT {
			event.Value = notNil(e.Kv.Value)
		}
		batch.Events = append(batch.Events, event)
	}
	return nil
}

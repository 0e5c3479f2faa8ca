package embedded

import (
	"context"

	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/internal/etcdkv"
)

// maxBatchEvents is how many events are gathered before they are delivered, if that many are there without waiting.
const maxBatchEvents = 1024

// Watch implements store.Store.
//
// It reads from the key-value store's own watch stream. A stream that is not read fast enough loses nothing: etcd takes the
// watcher out, remembers how far it came, and lets it catch up from the database later (up to 100 ms later, as for a
// watcher that starts at an old revision). That revisions follow each other without a gap is checked all the same.
func (s *Store) Watch(ctx context.Context, prefix string, from int64, deliver func(store.Batch) error) error {
	stream, err := s.openStream(ctx, from)
	if err != nil {
		return err
	}
	defer stream.Close()
	feed := etcdkv.NewFeed(prefix, from)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return errClosed
		case resp := <-stream.Chan():
			batch, feedErr := gather(feed, resp, stream.Chan())
			if batch.Revision > 0 {
				if err := deliver(batch); err != nil {
					return err
				}
			}
			if feedErr != nil {
				return feedErr
			}
		}
	}
}

func (s *Store) openStream(ctx context.Context, from int64) (mvcc.WatchStream, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	kv := s.server.KV()
	switch {
	case from > kv.Rev()+1:
		return nil, store.ErrFutureRevision
	case from < kv.FirstRev():
		return nil, store.ErrCompacted // etcd would say so 100 ms later
	}
	stream := kv.NewWatchStream()
	// mvcc, unlike etcd's API, means the whole keyspace when the end is empty but not nil.
	if _, err := stream.Watch(ctx, 0, []byte{0}, []byte{}, max(from, 1)); err != nil {
		stream.Close()
		return nil, etcdkv.Error(ctx, err)
	}
	return stream, nil
}

// gather makes one batch of a response and of those that are waiting behind it. The batch is valid also with an error.
func gather(feed *etcdkv.Feed, resp mvcc.WatchResponse, more <-chan mvcc.WatchResponse) (store.Batch, error) {
	var batch store.Batch
	for {
		mvcc.ReportEventReceived(len(resp.Events))
		if resp.CompactRevision != 0 {
			return batch, store.ErrCompacted
		}
		if err := feed.Append(&batch, resp.Events); err != nil {
			return batch, err
		}
		if len(batch.Events) >= maxBatchEvents {
			return batch, nil
		}
		select {
		case resp = <-more:
		default:
			return batch, nil
		}
	}
}

package etcdkv

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/kayak-k8s/kayak/internal/store"
)

// KV does the store operations that are a request to etcd. Its methods may be called from any number of goroutines, if the
// functions may.
type KV struct {
	// Range, Txn and Compact are etcd's KV service.
	Range   func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn     func(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	Compact func(context.Context, *pb.CompactionRequest) (*pb.CompactionResponse, error)
	// Leases hands out the leases of keys that shall disappear.
	Leases *Leases
	// SerializableReads lets reads skip the round of raft that makes them linearizable. Only the single member of an
	// in-process etcd may set it: package embedded says why.
	SerializableReads bool
}

// Get is store.Store.Get.
func (k *KV) Get(ctx context.Context, key string) (store.KV, error) {
	resp, err := k.Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: k.SerializableReads})
	if err != nil {
		return store.KV{}, Error(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return store.KV{}, store.ErrNotFound
	}
	return fromProto(resp.Kvs[0]), nil
}

// Page is store.Store.Range.
func (k *KV) Page(ctx context.Context, opts store.RangeOptions) (store.Page, error) {
	from, end := prefixRange(opts.Prefix)
	if opts.From > opts.Prefix {
		from = []byte(opts.From)
	}
	resp, err := k.Range(ctx, &pb.RangeRequest{
		Key: from, RangeEnd: end, Limit: opts.Limit, Revision: opts.Revision, Serializable: k.SerializableReads,
	})
	if err != nil {
		return store.Page{}, Error(ctx, err)
	}
	page := store.Page{Revision: opts.Revision, More: resp.More}
	if page.Revision <= 0 {
		page.Revision = resp.Header.Revision
	}
	page.KVs = make([]store.KV, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		page.KVs[i] = fromProto(kv)
	}
	return page, nil
}

// Put is store.Store.Put.
func (k *KV) Put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (int64, error) {
	rev, lease, err := k.put(ctx, key, value, expect, opts)
	if lease != 0 && errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
		// The shared lease ended early (somebody revoked it, or etcd's clock runs ahead). Nothing was written.
		k.Leases.forget(lease)
		rev, _, err = k.put(ctx, key, value, expect, opts)
	}
	return rev, Error(ctx, err)
}

func (k *KV) put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (rev, lease int64, err error) {
	if opts.TTLSeconds > 0 {
		if lease, err = k.Leases.get(ctx, opts.TTLSeconds); err != nil {
			return 0, 0, err
		}
	}
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(key), Value: value, Lease: lease},
	}}
	rev, err = k.conditional(ctx, key, expect, put)
	return rev, lease, err
}

// Delete is store.Store.Delete.
func (k *KV) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	if expect <= 0 {
		// etcd would take 0 for "does not exist", and "delete" nothing.
		return 0, k.conflict(ctx, key, expect)
	}
	del := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)},
	}}
	rev, err := k.conditional(ctx, key, expect, del)
	return rev, Error(ctx, err)
}

// conflict makes the Conflict of a condition that cannot hold.
func (k *KV) conflict(ctx context.Context, key string, expect int64) error {
	c := &store.Conflict{Key: key, Expect: expect}
	kv, err := k.Get(ctx, key)
	switch {
	case err == nil:
		c.Current = &kv
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return c
}

// conditional does op if the key's revision is still expect. The Else branch reads the key in the same transaction, so that
// a Conflict says exactly what stood in the way.
func (k *KV) conditional(ctx context.Context, key string, expect int64, op *pb.RequestOp) (int64, error) {
	resp, err := k.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: expect},
		}},
		Success: []*pb.RequestOp{op},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: []byte(key)},
		}}},
	})
	if err != nil {
		return 0, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	c := &store.Conflict{Key: key, Expect: expect}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		kv := fromProto(kvs[0])
		c.Current = &kv
	}
	return 0, c
}

// CompactTo is store.Store.Compact.
func (k *KV) CompactTo(ctx context.Context, rev int64) error {
	if rev <= 0 {
		return nil
	}
	_, err := k.Compact(ctx, &pb.CompactionRequest{Revision: rev})
	if err = Error(ctx, err); errors.Is(err, store.ErrCompacted) {
		return nil
	}
	return err
}

// prefixRange returns etcd's half-open range of the keys that begin with prefix. An end of "\x00" means no end.
func prefixRange(prefix string) (from, end []byte) {
	if prefix == "" {
		return []byte{0}, []byte{0}
	}
	end = []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return []byte(prefix), end[:i+1]
		}
	}
	return []byte(prefix), []byte{0}
}

// fromProto takes over the value of a key that was decoded for this call, or whose owner never writes to it again.
func fromProto(kv *mvccpb.KeyValue) store.KV {
	return store.KV{Key: string(kv.Key), Value: notNil(kv.Value), Revision: kv.ModRevision}
}

// notNil tells an empty value from none: in package store, nil means deleted.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Package embedded is a store kept by an etcd that runs inside the process: a cluster of one member, whose write-ahead log
// and database lie in a directory. It is what kayak uses unless it is given the addresses of an etcd cluster.
//
// The data is etcd's own, in etcd's own layout (DIR/member/wal, DIR/member/snap/db): a stock etcd of the same version started
// with --data-dir=DIR serves it. Every acknowledged write has been synced to disk.
//
// # In process
//
// There is no network. Requests are calls into the server. The only listener is the unix socket DIR/etcd.sock, mode 0600 in
// a directory of mode 0700, which speaks etcd's API, so that etcdctl can look and take snapshots:
//
//	etcdctl --endpoints=unix://DIR/etcd.sock get --prefix --keys-only /registry
//
// A unix socket's path may not be longer than about 104 bytes; when DIR is too deep for that, the store works without the
// socket and says so in the log.
//
// # Reads
//
// A read takes no round through raft. In a cluster that round makes sure that no other member has newer data; here there is
// no other member. What remains to be shown is that a write that was acknowledged is visible to every read that begins
// later, and that a read never shows what a crash could take back:
//
//   - etcd acknowledges a write after it has been applied to the key-value store, and the store's current revision is
//     raised as part of that. So a read that begins after the acknowledgement sees the write.
//   - etcd applies an entry after raft has committed it, and raft, with a single voter, commits an entry after the member
//     itself has written it to the log and synced the log. So what a read sees is durable.
//   - After a restart, the log is applied again. [Open] returns when the member has applied an entry of its new term (it
//     publishes its attributes), which comes after all older ones.
//
// The key-value store itself is one ordered history behind a lock, so reads of it are linearizable. For the same reason
// [Store.Revision] is a mere look at a number.
//
// # Quota
//
// When the database file reaches [Options.QuotaBytes], etcd raises an alarm and writes fail with store.ErrNoSpace; reads and
// deletes go on. [Store.Compact] frees space inside the file; if the alarm is on then, it also defragments the file and
// disarms the alarm, and so does [Open]. (Of a stock etcd, operators have to do both by hand.) Defragmenting stops all
// requests for as long as copying the database takes.
//
// # Failures
//
// Open reports every failure as an error, also those for which etcd would end the process. A later failure to write to disk
// panics: nothing that is acknowledged after it could be trusted.
package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/internal/etcdkv"
)

// DefaultQuotaBytes is the size of the database from which on writes are refused, unless Options say otherwise. It is the
// largest size that etcd recommends.
const DefaultQuotaBytes = 8 << 30

// Options configure Open.
type Options struct {
	// Dir is the data directory. It is created if need be, and made accessible to its owner only.
	Dir string
	// QuotaBytes is the size of the database file at which writes are refused; 0 means DefaultQuotaBytes.
	QuotaBytes int64
	// Logger receives what etcd logs, its errors as information and the rest as debug output. Nil means none.
	Logger *slog.Logger
}

// Store implements store.Store. Any number of them may be open in one process, each with its own directory.
type Store struct {
	kv     etcdkv.KV
	logger *slog.Logger
	server *etcdserver.EtcdServer
	quota  int64
	socket *socket
	unlock func()

	// done is closed when Close begins.
	done chan struct{}
	// mu is held for reading by every call that uses the server, and for writing by Close: the database must not be
	// closed under a reader.
	mu        sync.RWMutex
	closed    bool
	closeOnce sync.Once
}

var _ store.Store = (*Store)(nil)

var errClosed = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)

// Open starts etcd and returns when it serves. The directory must not be in use by another process or another Store.
// The context only bounds the start.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.QuotaBytes == 0 {
		opts.QuotaBytes = DefaultQuotaBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	unlock, err := lockDirectory(opts.Dir)
	if err != nil {
		return nil, err
	}
	server, err := startServer(ctx, opts)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("open etcd's data in %s: %w", opts.Dir, err)
	}
	s := &Store{
		logger: opts.Logger, server: server, quota: opts.QuotaBytes, unlock: unlock,
		done: make(chan struct{}),
	}
	s.kv = s.inProcess()
	s.socket = listen(opts, server)
	if err := s.reclaimSpace(ctx); err != nil {
		s.logger.Warn("etcd's database is full and its space could not be reclaimed", "error", err)
	}
	return s, nil
}

// inProcess returns the KV whose requests are calls. v3rpc's servers are what etcd's gRPC API calls: they check requests and
// the quota.
func (s *Store) inProcess() etcdkv.KV {
	kv := v3rpc.NewQuotaKVServer(s.server)
	leases := v3rpc.NewQuotaLeaseServer(s.server)
	return etcdkv.KV{
		SerializableReads: true,
		Range:             guarded(s, kv.Range),
		Txn:               guarded(s, kv.Txn),
		Compact:           guarded(s, kv.Compact),
		Leases: etcdkv.NewLeases(func(ctx context.Context, ttl int64) (int64, error) {
			resp, err := guarded(s, leases.LeaseGrant)(ctx, &pb.LeaseGrantRequest{TTL: ttl})
			if err != nil {
				return 0, err
			}
			return resp.ID, nil
		}),
	}
}

// guarded lets call run only while the server does.
func guarded[Req, Resp any](s *Store, call func(context.Context, *Req) (*Resp, error)) func(context.Context, *Req) (*Resp, error) {
	return func(ctx context.Context, req *Req) (*Resp, error) {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		defer s.mu.RUnlock()
		return call(ctx, req)
	}
}

// enter begins a use of the server. If it returns nil, the use must end with s.mu.RUnlock.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	select {
	case <-s.server.StoppingNotify(): // by itself: somebody removed the member
		s.mu.RUnlock()
		return errClosed
	default:
		return nil
	}
}

// Revision implements store.Store. The package comment says why this is linearizable.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.RUnlock()
	return s.server.KV().Rev(), nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) { return s.kv.Get(ctx, key) }

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, opts store.RangeOptions) (store.Page, error) {
	return s.kv.Page(ctx, opts)
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (int64, error) {
	return s.kv.Put(ctx, key, value, expect, opts)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	return s.kv.Delete(ctx, key, expect)
}

// Compact implements store.Store. If the quota has been reached, it also waits until the space is free, and makes it
// available to writes again.
func (s *Store) Compact(ctx context.Context, rev int64) error {
	if err := s.kv.CompactTo(ctx, rev); err != nil {
		return err
	}
	return s.reclaimSpace(ctx)
}

// Status implements store.Store. A store that has reached its quota serves reads and deletes; that is no error here.
func (s *Store) Status(ctx context.Context) (store.Status, error) {
	if err := s.enter(ctx); err != nil {
		return store.Status{}, err
	}
	defer s.mu.RUnlock()
	if s.alarm(pb.AlarmType_CORRUPT) != nil {
		return store.Status{}, fmt.Errorf("%w: etcd has found its data to be corrupt", store.ErrUnavailable)
	}
	if s.server.Leader() == 0 {
		return store.Status{}, fmt.Errorf("%w: etcd has no leader", store.ErrUnavailable)
	}
	be := s.server.Backend()
	return store.Status{SizeBytes: be.Size(), UsedBytes: be.SizeInUse(), QuotaBytes: s.quota}, nil
}

// Close implements store.Store. It waits for calls that are under way, except watches.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.done)
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.socket.close()
		s.server.HardStop()
		s.unlock()
	})
	return nil
}

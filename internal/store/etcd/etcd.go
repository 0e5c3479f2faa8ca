// Package etcd is a store kept by an etcd cluster. Any number of servers may use the same cluster.
//
// Reads are linearizable: each is confirmed by a majority of the members. Writes that the client library may safely repeat
// (those that etcd has certainly not seen) it does repeat; all others end with store.ErrUnavailable when the connection
// fails.
//
// A watch follows the whole keyspace, whatever its prefix, because only then does it see every revision; so the user that
// the client certificate stands for must be allowed to read all keys, and what other programs write to the same cluster
// costs bandwidth. While the cluster cannot be reached the watch waits, and goes on where it was: the client library
// resumes it at the next revision, and the store checks that none is missing.
package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/internal/etcdkv"
)

const (
	// As in kube-apiserver (apiserver/pkg/storage/storagebackend/factory/etcd3.go): a connection on which nothing is
	// heard for 30 s and not within another 10 s is closed, so that the client finds another member.
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	dialTimeout      = 20 * time.Second

	// requestTimeout ends a request whose context would let it wait for ever.
	requestTimeout = 30 * time.Second

	// maxAnswerBytes is the largest answer that is read. gRPC's own limit of 4 MiB is less than what a cluster with a raised
	// --max-request-bytes keeps under one key; a page beyond this one is asked for again in smaller parts.
	maxAnswerBytes = 128 << 20
)

// Options configure Open. They are kube-apiserver's --etcd-... flags; the key prefix is the caller's business.
type Options struct {
	// Servers are the addresses of members, such as https://10.0.0.1:2379 or unix:///run/etcd.sock.
	Servers []string
	// CAFile holds the certificates of the authorities that may have signed the servers' certificates; those of the
	// system if empty. CertFile and KeyFile hold the client certificate, if there is one. All are PEM. The client
	// certificate is read again for every connection.
	CAFile, CertFile, KeyFile string
	// Logger receives what the client library logs, its errors as information and the rest as debug output. Nil means
	// none.
	Logger *slog.Logger
}

// Store implements store.Store.
type Store struct {
	kv     etcdkv.KV
	client *clientv3.Client
	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
}

var _ store.Store = (*Store)(nil)

var errClosed = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)

// Open returns a store that connects when it is first used: it succeeds also if no server can be reached. It fails if the
// options cannot be right, such as a file that holds no certificate. Nothing in it waits, so the context only must not have
// ended; it may end later.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(opts.Servers) == 0 {
		return nil, errors.New("no etcd servers are given")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	tlsConfig, err := opts.tls()
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            opts.Servers,
		TLS:                  tlsConfig,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		Context:              life,
		Logger:               etcdkv.ZapLogger(opts.Logger, nil),
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("etcd client: %w", err)
	}
	s := &Store{client: client, ctx: life, cancel: cancel}
	s.kv = s.overTheWire()
	return s, nil
}

// tls returns nil if the options name no file. An https address works even so, with the system's authorities.
func (o Options) tls() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" && o.KeyFile == "" {
		return nil, nil
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("etcd's client certificate and key must be given together")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd's certificate authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd's certificate authorities: there is no PEM certificate in %s", o.CAFile)
		}
	}
	if o.CertFile != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			return &cert, err
		}
		if _, err := load(nil); err != nil {
			return nil, fmt.Errorf("etcd's client certificate: %w", err)
		}
		config.GetClientCertificate = load
	}
	return config, nil
}

func (s *Store) overTheWire() etcdkv.KV {
	kv, leases := clientv3.RetryKVClient(s.client), clientv3.RetryLeaseClient(s.client)
	return etcdkv.KV{
		Range:   request(s, kv.Range),
		Txn:     request(s, kv.Txn),
		Compact: request(s, kv.Compact),
		Leases: etcdkv.NewLeases(func(ctx context.Context, ttl int64) (int64, error) {
			resp, err := request(s, leases.LeaseGrant)(ctx, &pb.LeaseGrantRequest{TTL: ttl})
			if err != nil {
				return 0, err
			}
			return resp.ID, nil
		}),
	}
}

// request bounds the time of a call.
func request[Req, Resp any](s *Store, call func(context.Context, *Req, ...grpc.CallOption) (*Resp, error)) func(context.Context, *Req) (*Resp, error) {
	return func(ctx context.Context, req *Req) (*Resp, error) {
		if s.ctx.Err() != nil {
			return nil, errClosed
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		return call(ctx, req, grpc.MaxCallRecvMsgSize(maxAnswerBytes))
	}
}

// Revision implements store.Store. It asks for a key that cannot exist, since every answer of etcd tells the revision.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	resp, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true})
	if err != nil {
		return 0, etcdkv.Error(ctx, err)
	}
	return resp.Header.Revision, nil
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

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, rev int64) error { return s.kv.CompactTo(ctx, rev) }

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, from int64, deliver func(store.Batch) error) error {
	newest, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	if from > newest+1 {
		return store.ErrFutureRevision
	}
	// Cancelling the call ends the watch at the server, too. A member that has lost its leader must not let the watch
	// wait for changes that it does not learn of.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()

	key, end := etcdkv.WholeKeyspace()
	responses := s.client.Watch(ctx, string(key), clientv3.WithRange(string(end)), clientv3.WithRev(max(from, 1)))
	feed := etcdkv.NewFeed(prefix, from)
	for resp := range responses {
		if err := resp.Err(); err != nil {
			return s.watchError(ctx, err)
		}
		var batch store.Batch
		feedErr := feed.Append(&batch, resp.Events)
		if batch.Revision > 0 {
			if err := deliver(batch); err != nil {
				return err
			}
		}
		if feedErr != nil {
			return feedErr
		}
	}
	return s.watchError(ctx, io.EOF)
}

func (s *Store) watchError(ctx context.Context, err error) error {
	if s.ctx.Err() != nil {
		return errClosed
	}
	return etcdkv.Error(ctx, err)
}

// Status implements store.Store. The size is that of the first member that answers.
func (s *Store) Status(ctx context.Context) (store.Status, error) {
	if _, err := s.Revision(ctx); err != nil { // a majority answers
		return store.Status{}, err
	}
	err := errClosed
	for _, server := range s.client.Endpoints() {
		var resp *clientv3.StatusResponse
		if resp, err = s.client.Status(ctx, server); err == nil {
			return store.Status{SizeBytes: resp.DbSize, UsedBytes: resp.DbSizeInUse, QuotaBytes: resp.DbSizeQuota}, nil
		}
	}
	return store.Status{}, etcdkv.Error(ctx, err)
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.cancel()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("etcd client: %w", err)
	}
	return nil
}

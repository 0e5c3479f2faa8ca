package etcdkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kayak-k8s/kayak/internal/store"
)

func TestErrors(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	conflict := &store.Conflict{Key: "/a"}
	for _, test := range []struct {
		err         error
		want        error
		wantWithCtx error // when the caller's context has ended
	}{
		{nil, nil, nil},
		{conflict, conflict, conflict},
		{rpctypes.ErrGRPCCompacted, store.ErrCompacted, store.ErrCompacted},
		{rpctypes.ErrCompacted, store.ErrCompacted, store.ErrCompacted},
		{rpctypes.ErrGRPCFutureRev, store.ErrFutureRevision, store.ErrFutureRevision},
		{rpctypes.ErrGRPCNoSpace, store.ErrNoSpace, store.ErrNoSpace},
		{rpctypes.ErrGRPCRequestTooLarge, store.ErrTooLarge, store.ErrTooLarge},
		{status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"), store.ErrTooLarge, store.ErrTooLarge},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (3 vs. 2)"), store.ErrTooLarge, store.ErrTooLarge},
		{rpctypes.ErrGRPCRequestTooManyRequests, store.ErrUnavailable, context.Canceled},
		{rpctypes.ErrGRPCTimeout, store.ErrUnavailable, context.Canceled},
		{rpctypes.ErrGRPCNoLeader, store.ErrUnavailable, context.Canceled},
		{status.Error(codes.Unavailable, "connection refused"), store.ErrUnavailable, context.Canceled},
		{status.Error(codes.Canceled, "context canceled"), store.ErrUnavailable, context.Canceled},
		{context.DeadlineExceeded, store.ErrUnavailable, context.Canceled},
		{errors.New("anything"), store.ErrUnavailable, context.Canceled},
	} {
		if got := Error(t.Context(), test.err); !errors.Is(got, test.want) {
			t.Errorf("Error(%v) = %v, want %v", test.err, got, test.want)
		}
		if got := Error(canceled, test.err); !errors.Is(got, test.wantWithCtx) {
			t.Errorf("Error(%v) with a context that has ended = %v, want %v", test.err, got, test.wantWithCtx)
		}
	}
}

func TestLeasesAreShared(t *testing.T) {
	now := time.Unix(0, 0)
	var granted []int64
	leases := NewLeases(func(_ context.Context, ttl int64) (int64, error) {
		granted = append(granted, ttl)
		return int64(len(granted)), nil
	})
	leases.now = func() time.Time { return now }
	get := func(ttl, want int64) {
		t.Helper()
		if id, err := leases.get(t.Context(), ttl); err != nil || id != want {
			t.Errorf("at %v: lease %d, %v; want %d", now.Unix(), id, err, want)
		}
	}
	get(3600, 1)
	now = now.Add(59 * time.Second)
	get(3600, 1)
	now = now.Add(time.Second) // the last moment at which the lease lives long enough
	get(3600, 1)
	now = now.Add(time.Nanosecond)
	get(3600, 2)
	get(1000, 3) // another TTL
	now = now.Add(50 * time.Second)
	get(1000, 3)
	now = now.Add(time.Nanosecond)
	get(1000, 4)
	get(1, 5)
	get(1, 5)
	leases.forget(4) // not the current one
	get(1, 5)
	leases.forget(5)
	get(1, 6)
	for range maxLeaseKeys - 1 {
		get(1, 6)
	}
	get(1, 7)
	if diff := cmp.Diff([]int64{3660, 3660, 1050, 1050, 1, 1, 1}, granted); diff != "" {
		t.Errorf("TTLs of the leases (-want +got):\n%s", diff)
	}
}

func TestLeaseThatCannotBeGranted(t *testing.T) {
	refused := errors.New("refused")
	leases := NewLeases(func(context.Context, int64) (int64, error) { return 7, refused })
	for range 2 {
		if _, err := leases.get(t.Context(), 10); !errors.Is(err, refused) {
			t.Errorf("get: %v", err)
		}
	}
}

func event(key string, rev int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}}
}

func TestFeed(t *testing.T) {
	feed := NewFeed("/a/", 5)
	var batch store.Batch
	steps := []struct {
		events []*mvccpb.Event
		want   store.Batch
	}{
		{[]*mvccpb.Event{event("/a/old", 4), event("/a/1", 5), event("/b/1", 5), event("/a/2", 5)},
			store.Batch{Revision: 5, Events: []store.Event{{Key: "/a/1", Value: []byte{}, Revision: 5}, {Key: "/a/2", Value: []byte{}, Revision: 5}}}},
		// A repeated response changes nothing, nor does an empty one.
		{[]*mvccpb.Event{event("/a/1", 5), event("/b/1", 5)}, store.Batch{}},
		{nil, store.Batch{}},
		{[]*mvccpb.Event{event("/b/1", 6), event("/b/1", 7)}, store.Batch{Revision: 7}},
	}
	for i, step := range steps {
		batch = store.Batch{}
		if err := feed.Append(&batch, step.events); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if diff := cmp.Diff(step.want, batch); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	batch = store.Batch{}
	err := feed.Append(&batch, []*mvccpb.Event{event("/a/1", 8), event("/a/1", 10)})
	if !errors.Is(err, store.ErrCompacted) || batch.Revision != 8 {
		t.Errorf("a gap after revision 8: %v, batch up to %d", err, batch.Revision)
	}
}

func TestPrefixRange(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "\x00 \x00", "/a/": "/a/ /a0", "a\xff": "a\xff b", "\xff\xff": "\xff\xff \x00",
	} {
		from, end := prefixRange(prefix)
		if got := fmt.Sprintf("%s %s", from, end); got != want {
			t.Errorf("prefixRange(%q) = %q, want %q", prefix, got, want)
		}
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	logger := ZapLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})), nil).With(zap.Int("n", 1))
	logger.Info("left out")
	logger.Warn("left out")
	logger.Error("failed", zap.Error(errors.New("cause")))
	got := out.String()
	if strings.Contains(got, "left out") || !strings.Contains(got, `level=INFO msg="etcd: failed" n=1 error=cause`) {
		t.Errorf("log:\n%s", got)
	}
}

package controllers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// asKubeAPIServer is the field manager of what upstream's server writes through its own client, which names none: the first
// part of its user agent.
const asKubeAPIServer = "kube-apiserver"

// every calls fn in an interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, fn func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fn()
		case <-ctx.Done():
			return
		}
	}
}

// togetherAtMost is how many writes are under way at a time: all that wait when etcd syncs its log share one sync, so a start with
// a hundred and forty writes takes a few of them, and not ten.
const togetherAtMost = 256

// together calls fn for each item, several at a time, and returns all errors.
func together[T any](items []T, fn func(T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, togetherAtMost)
	var group sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(item)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// hub returns an object of one of the kind's versions in the hub version, with defaults. It is the caller's.
func hub(r *kind.Resource, versioned runtime.Object) (runtime.Object, error) {
	versioned = versioned.DeepCopyObject()
	r.Codec.Defaulter.Default(versioned)
	return r.Codec.Convertor.ConvertToVersion(versioned, r.Codec.Hub)
}

// stored decodes an object of a snapshot; nil when there is none.
func stored(snapshot *state.Snapshot, root string, r *kind.Resource, namespace, name string) (runtime.Object, error) {
	record := snapshot.Get(r.Key(root, namespace, name))
	if record == nil {
		return nil, nil
	}
	return r.Decode(record.Value(), record.Revision)
}

// names returns the names of a cluster-scoped kind's objects, without decoding any.
func names(snapshot *state.Snapshot, root string, r *kind.Resource) map[string]bool {
	set := map[string]bool{}
	prefix := r.KeyPrefix(root, "")
	snapshot.Ascend(prefix, "", func(record *state.Record) bool {
		set[strings.TrimPrefix(record.Key, prefix)] = true
		return true
	})
	return set
}

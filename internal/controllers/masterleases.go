package controllers

import (
	"context"
	"errors"
	"net/netip"

	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// masterLeases are keys by which the servers of a cluster know of each other: each keeps one, of its address, alive. They are
// Endpoints objects, stored as upstream stores them (k8s.io/kubernetes/pkg/controlplane/reconcilers/lease.go), so that servers
// of both sorts see one another.
type masterLeases struct {
	API       *verb.API
	Endpoints *kind.Resource
}

// masterLeaseSeconds is how long a server is believed to live that does not renew its lease.
const masterLeaseSeconds = 15

func (l masterLeases) prefix() string { return l.API.Root + "masterleases/" }

// renew keeps a lease for another while and returns the revision at which it was written.
func (l masterLeases) renew(ctx context.Context, address netip.Addr) (int64, error) {
	key := l.prefix() + address.String()
	current, err := l.API.Store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	for {
		value, err := l.next(current, address)
		if err != nil {
			return 0, err
		}
		revision, err := l.API.Store.Put(ctx, key, value, current.Revision, store.PutOptions{TTLSeconds: masterLeaseSeconds})
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return revision, err
		}
		current = store.KV{}
		if conflict.Current != nil {
			current = *conflict.Current
		}
	}
}

// next is what to store after current. The generation counts the renewals: upstream needs it, so that there is a change.
func (l masterLeases) next(current store.KV, address netip.Addr) ([]byte, error) {
	lease := &api.Endpoints{}
	if current.Revision != 0 {
		if obj, err := l.Endpoints.Decode(current.Value, current.Revision); err == nil {
			lease = obj.(*api.Endpoints)
		}
	}
	lease.Subsets = []api.EndpointSubset{{Addresses: []api.EndpointAddress{{IP: address.String()}}}}
	lease.Generation++
	return l.Endpoints.Encode(lease)
}

// list returns the addresses of the servers that live.
func (l masterLeases) list(snapshot *state.Snapshot) ([]string, error) {
	var addresses []string
	var err error
	snapshot.Ascend(l.prefix(), "", func(record *state.Record) bool {
		obj, decodeErr := l.Endpoints.Decode(record.Value(), record.Revision)
		if decodeErr != nil {
			err = decodeErr
			return false
		}
		subsets := obj.(*api.Endpoints).Subsets
		if len(subsets) > 0 && len(subsets[0].Addresses) > 0 && subsets[0].Addresses[0].IP != "" {
			addresses = append(addresses, subsets[0].Addresses[0].IP)
		}
		return true
	})
	return addresses, err
}

// remove gives a lease up and returns a revision at which it is gone.
func (l masterLeases) remove(ctx context.Context, address netip.Addr) (int64, error) {
	key := l.prefix() + address.String()
	for {
		current, err := l.API.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return l.API.Store.Revision(ctx)
		}
		if err != nil {
			return 0, err
		}
		revision, err := l.API.Store.Delete(ctx, key, current.Revision)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return revision, err
		}
	}
}

package etcdkv

import (
	"context"
	"sync"
	"time"
)

const (
	// A lease is shared by keys written within this time, or within slackPercent of the TTL if that is shorter ...
	maxLeaseReuseSeconds = 60
	slackPercent         = 5
	// ... and by at most this many keys: etcd removes all keys of an expired lease in one transaction.
	maxLeaseKeys = 1000
)

// Leases shares leases between keys. A lease costs etcd much more than a key does, and the keys with a TTL (events) come
// in thousands with the same TTL. The rule is that of upstream's apiserver/pkg/storage/etcd3/lease_manager.go: a lease is
// granted for 5% (but no more than a minute) longer than asked for, and the keys written during that extra time share it,
// so that a key never lives shorter than it should.
//
// The one lease in use is the one most recently granted: TTLs that alternate are not shared. Leases may be used from any
// number of goroutines.
type Leases struct {
	grant func(ctx context.Context, ttlSeconds int64) (id int64, err error)
	now   func() time.Time

	mu      sync.Mutex
	current int64
	expires time.Time
	keys    int
}

// NewLeases returns Leases that get new leases from grant.
func NewLeases(grant func(ctx context.Context, ttlSeconds int64) (id int64, err error)) *Leases {
	return &Leases{grant: grant, now: time.Now}
}

// get returns a lease that ends no earlier than ttl seconds from now and at most a few percent later. The lock is held
// while a lease is granted, so that many writers that need one get the same one.
func (l *Leases) get(ctx context.Context, ttl int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	slack := min(ttl*slackPercent/100, maxLeaseReuseSeconds)
	earliest, latest := now.Add(seconds(ttl)), now.Add(seconds(ttl+slack))
	if l.current != 0 && l.keys < maxLeaseKeys && !l.expires.Before(earliest) && !l.expires.After(latest) {
		l.keys++
		return l.current, nil
	}
	id, err := l.grant(ctx, ttl+slack)
	if err != nil {
		return 0, err
	}
	l.current, l.expires, l.keys = id, latest, 1
	return id, nil
}

// forget makes sure that a lease is not handed out again.
func (l *Leases) forget(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == id {
		l.current = 0
	}
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

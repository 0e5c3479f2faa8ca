// Package compact drops old revisions of a store at an interval, so that history does not grow without end.
//
// Several servers may share one store, and real kube-apiservers may be among them: all follow the protocol of
// apiserver/pkg/storage/etcd3/compact.go. There is a key, [RevisionKey], which each server tries to overwrite once per
// interval, on condition that nobody else has since its last attempt. Who succeeds compacts to the revision that was the
// newest at that last attempt; who fails waits for its next turn. So in every interval one server compacts, to a revision
// that is one interval old or more (two, after the one that did it before has stopped), and clients have at least an
// interval's time to go on from a revision they have seen.
//
// kube-apiserver compares the key's version and this package its revision. Both change with every write of the key, so it
// makes no difference.
package compact

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
)

// RevisionKey is the key that the servers agree through. It holds, in decimal, the revision of the latest compaction, and
// lies outside every prefix that kube-apiserver keeps objects under.
const RevisionKey = "compact_rev_key"

// Run compacts s at the interval until the context ends, and returns the context's error; it returns nil at once if the
// interval is not positive. Failures are logged and made up for at the next interval. The store must not be closed before
// Run has returned.
func Run(ctx context.Context, s store.Store, interval time.Duration, logger *slog.Logger) error {
	if interval <= 0 {
		return nil
	}
	c := compactor{store: s, logger: logger}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := c.turn(ctx); err != nil && ctx.Err() == nil {
			logger.Warn("compaction failed; the next attempt is in "+interval.String(), "error", err)
		}
	}
}

// compactor is what a server remembers between two turns.
type compactor struct {
	store  store.Store
	logger *slog.Logger
	// key is the revision of RevisionKey, 0 when it does not exist.
	key int64
	// previous is the store's revision at the turn before, 0 at the first turn.
	previous int64
}

func (c *compactor) turn(ctx context.Context) error {
	now, err := c.store.Revision(ctx)
	if err != nil {
		return err
	}
	if now < c.previous { // etcd was restored from a backup: what this server remembers is of another history
		c.key, c.previous = 0, 0
	}
	mine, err := c.claim(ctx)
	if err != nil {
		return err
	}
	target := c.previous
	if target == 0 || !mine {
		c.previous = now
		return nil
	}
	if err := c.store.Compact(ctx, target); err != nil {
		return err // the next turn tries this revision again
	}
	c.previous = now
	c.logger.Debug("compacted", "revision", target)
	return nil
}

// claim reports whether this turn is this server's.
func (c *compactor) claim(ctx context.Context) (bool, error) {
	value := strconv.FormatInt(c.previous, 10)
	rev, err := c.store.Put(ctx, RevisionKey, []byte(value), c.key, store.PutOptions{})
	var conflict *store.Conflict
	switch {
	case err == nil:
		c.key = rev
		return true, nil
	case errors.As(err, &conflict):
		c.key = 0
		if conflict.Current != nil {
			c.key = conflict.Current.Revision
		}
		return false, nil
	case errors.Is(err, store.ErrNoSpace):
		// No server can write the key any more, and compaction is what makes room. That several may compact is no
		// harm: none goes further than to what was the newest revision an interval ago.
		return true, nil
	}
	return false, err
}

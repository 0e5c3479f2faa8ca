package kayak

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kayak-k8s/kayak/internal/bootstrap"
	"github.com/kayak-k8s/kayak/internal/store"
)

// Snapshot is what a server held at one moment: its objects, its authority and its keys. It never changes, and any number of
// servers can begin with it, see Config.Snapshot. It holds private keys.
type Snapshot struct {
	material *bootstrap.Material
	objects  []store.KV
	revision int64
}

// Snapshot returns what the server holds now. Events and other things that would disappear by themselves stay in it.
func (s *Server) Snapshot(ctx context.Context) (*Snapshot, error) {
	if s.state == nil {
		return nil, errNotStarted
	}
	root := s.root()
	snapshot := &Snapshot{material: s.material}
	options := store.RangeOptions{Prefix: root, Limit: snapshotPage}
	for {
		page, err := s.store.Range(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("cannot read the objects: %w", err)
		}
		for _, kv := range page.KVs {
			if !strings.HasPrefix(kv.Key, root+"masterleases/") { // those say which servers there are
				snapshot.objects = append(snapshot.objects, kv)
			}
		}
		snapshot.revision = page.Revision
		if !page.More || len(page.KVs) == 0 {
			return snapshot, nil
		}
		options.Revision, options.From = page.Revision, page.KVs[len(page.KVs)-1].Key+"\x00"
	}
}

// snapshotPage is how many objects are read at a time.
const snapshotPage = 1000

var errNotStarted = errors.New("the server has not been started")

// root is what all keys of objects begin with: the prefix, given with or without slashes, as upstream.
func (s *Server) root() string { return "/" + strings.Trim(s.config.Etcd.Prefix, "/") + "/" }

// Compact drops the history now: what was before this moment can neither be watched nor read any more, by clients of this server
// at once (they get 410 Expired), and by those of others that share its store once they ask the store.
func (s *Server) Compact(ctx context.Context) error {
	if s.state == nil {
		return errNotStarted
	}
	snapshot, err := s.state.Consistent(ctx)
	if err != nil {
		return err
	}
	if err := s.store.Compact(ctx, snapshot.Revision()); err != nil && !errors.Is(err, store.ErrCompacted) {
		return err
	}
	s.state.DropHistory(snapshot.Revision())
	return nil
}

// ExpireEvents does now what time does: every event that there is disappears. It returns how many.
func (s *Server) ExpireEvents(ctx context.Context) (int, error) {
	if s.state == nil {
		return 0, errNotStarted
	}
	page, err := s.store.Range(ctx, store.RangeOptions{Prefix: s.root() + "events/"})
	if err != nil {
		return 0, err
	}
	expired := 0
	for _, kv := range page.KVs {
		_, err := s.store.Delete(ctx, kv.Key, kv.Revision)
		var changed *store.Conflict
		switch {
		case err == nil:
			expired++
		case !errors.As(err, &changed): // one that somebody has just written lives on
			return expired, err
		}
	}
	return expired, nil
}

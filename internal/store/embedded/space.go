package embedded

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/kayak-k8s/kayak/internal/store/internal/etcdkv"
)

// alarm returns an alarm that is on, or nil. The caller holds s.mu.
func (s *Store) alarm(kind pb.AlarmType) *pb.AlarmMember {
	for _, a := range s.server.Alarms() {
		if a.Alarm == kind {
			return a
		}
	}
	return nil
}

// reclaimSpace ends the refusal of writes, if it is on and compaction has made room. It does nothing otherwise: etcd uses
// free pages of the file again before it lets the file grow, so there is no need to defragment before the quota is reached.
func (s *Store) reclaimSpace(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	full := s.alarm(pb.AlarmType_NOSPACE) != nil
	s.mu.RUnlock()
	if !full {
		return nil
	}
	if err := s.awaitCompaction(ctx); err != nil {
		return err
	}
	return s.disarm(ctx)
}

// awaitCompaction waits until etcd has removed from the database what was compacted, which it does in the background and in
// small steps.
func (s *Store) awaitCompaction(ctx context.Context) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		if err := s.enter(ctx); err != nil {
			return err
		}
		finished := s.compactionFinished()
		s.mu.RUnlock()
		if finished {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.done:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) compactionFinished() bool {
	tx := s.server.Backend().ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	scheduled, _ := mvcc.UnsafeReadScheduledCompact(tx)
	finished, _ := mvcc.UnsafeReadFinishedCompact(tx)
	return scheduled == finished
}

// awaitFreePages waits until the database counts the pages that compaction freed, and reports whether they are worth
// defragmenting for. It counts them a few write transactions later, when nobody reads an older state any more, so this
// writes something that is there already. If there is little to free, it gives up after a tenth of a second.
func awaitFreePages(ctx context.Context, be backend.Backend) bool {
	for range 20 {
		tx := be.BatchTx()
		tx.LockOutsideApply()
		if finished, ok := mvcc.UnsafeReadFinishedCompact(tx); ok {
			mvcc.UnsafeSetFinishedCompact(tx, finished)
		}
		tx.Unlock()
		be.ForceCommit()
		if size := be.Size(); size-be.SizeInUse() > size/10 {
			return true
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// disarm defragments the database if that makes it smaller, and turns the alarm off if it is small enough then.
func (s *Store) disarm(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	alarm := s.alarm(pb.AlarmType_NOSPACE)
	if alarm == nil {
		return nil
	}
	be := s.server.Backend()
	before := be.Size()
	if awaitFreePages(ctx, be) {
		if err := s.server.Defragment(); err != nil {
			return fmt.Errorf("defragment etcd's database: %w", err)
		}
	}
	size := be.Size()
	if size > s.quota/20*19 {
		s.logger.Error("etcd's database is full: delete objects or raise the quota", "bytes", size, "quotaBytes", s.quota)
		return nil
	}
	_, err := s.server.Alarm(ctx, &pb.AlarmRequest{
		Action: pb.AlarmRequest_DEACTIVATE, Alarm: alarm.Alarm, MemberID: alarm.MemberID,
	})
	if err != nil {
		return etcdkv.Error(ctx, err)
	}
	s.logger.Info("etcd's database accepts writes again", "bytesBefore", before, "bytes", size, "quotaBytes", s.quota)
	return nil
}

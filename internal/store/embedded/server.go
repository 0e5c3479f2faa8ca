package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kayak-k8s/kayak/internal/store/internal/etcdkv"
)

// lockDirectory creates the directory if need be and makes sure that nobody else has it open, now and until unlock is called.
func lockDirectory(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory private: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock the data directory: %w", err)
	case !locked:
		return nil, errInUse(dir)
	}
	if err := checkDatabase(dir); err != nil {
		lock.Unlock()
		return nil, err
	}
	return func() { lock.Unlock() }, nil
}

func errInUse(dir string) error {
	return fmt.Errorf("the data directory %s is in use by another process or server", dir)
}

// checkDatabase opens the database for reading. etcd itself would wait without end if another program (a stock etcd, which
// does not know kayak's lock) had it open, and crash if it were no database.
func checkDatabase(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Millisecond})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return errInUse(dir)
	case err != nil:
		return fmt.Errorf("the database %s cannot be opened: %w", path, err)
	}
	return db.Close()
}

// serverConfig is what the etcd command would use by default, except where a comment says why not.
func serverConfig(opts Options, logger *zap.Logger) config.ServerConfig {
	const name = "default"
	// The address of the member is part of its identity but nobody listens there. It is that of a stock etcd, so that
	// one can serve the directory without further flags.
	peer := types.MustNewURLs([]string{"http://localhost:2380"})
	return config.ServerConfig{
		Name:                name,
		DataDir:             opts.Dir,
		PeerURLs:            peer,
		InitialPeerURLsMap:  types.URLsMap{name: peer},
		InitialClusterToken: "etcd-cluster",
		NewCluster:          !wal.Exist(filepath.Join(opts.Dir, "member", "wal")),

		TickMs:                     100,
		ElectionTicks:              10,
		InitialElectionTickAdvance: true,
		PreVote:                    true,
		StrictReconfigCheck:        true,

		UnsafeNoFsync: false,
		// After so many log entries the log can begin anew. A start applies what is left of the log again; while that
		// is more than 5,000 entries, etcd refuses all requests, also its own, which it repeats without a pause.
		SnapshotCount: 2000,
		// So many log entries stay in memory. Followers would want them, and there are none, but there must be more than
		// SnapshotCount: after a start raft goes through the log from the last snapshot on, while etcd knows already how
		// far it had applied it, and may drop entries that raft has yet to look at. Raft ends the process then.
		SnapshotCatchUpEntries: 2500,
		MaxSnapFiles:           5,
		// Of the log files that are no longer needed. A start reads them all, and each has 64 MB.
		MaxWALFiles: 1,

		QuotaBackendBytes:           opts.QuotaBytes,
		MaxTxnOps:                   128,
		MaxRequestBytes:             1.5 * 1024 * 1024,
		MaxConcurrentStreams:        1000,
		WarningApplyDuration:        100 * time.Millisecond,
		WarningUnaryRequestDuration: 300 * time.Millisecond,
		CompactHashCheckTime:        time.Minute,
		AutoCompactionMode:          "periodic", // required, but without retention there is none: package compact does it

		BcryptCost:        10,
		V2Deprecation:     config.V2DeprDefault,
		MaxLearners:       1,
		Metrics:           "basic",
		ServerFeatureGate: features.NewDefaultServerFeatureGate(name, logger),
		Logger:            logger,
	}
}

// startServer returns a server that has elected itself and applied everything in its log.
func startServer(ctx context.Context, opts Options) (*etcdserver.EtcdServer, error) {
	failure := &failure{errors: make(chan error, 1)}
	logger := etcdkv.ZapLogger(opts.Logger, failure)
	started := make(chan *etcdserver.EtcdServer, 1)
	go func() {
		defer failure.recoverPanic()
		server, err := etcdserver.NewServer(serverConfig(opts, logger))
		if err != nil {
			failure.report(err)
			return
		}
		started <- server
	}()
	var server *etcdserver.EtcdServer
	select {
	case err := <-failure.errors:
		return nil, err
	case server = <-started: // also if the context has ended meanwhile, so that there is something to stop
	}
	server.Start()
	if err := awaitReady(ctx, server, failure); err != nil {
		stopBroken(server)
		return nil, err
	}
	failure.opened.Store(true)
	return server, nil
}

// stopBroken stops a server that has failed to start, as far as it can be stopped: one whose goroutines have ended in the
// middle of something waits for them forever.
func stopBroken(server *etcdserver.EtcdServer) {
	stopped := make(chan struct{})
	go func() {
		server.HardStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(time.Second):
	}
}

// awaitReady makes the member the leader and waits until it serves.
func awaitReady(ctx context.Context, server *etcdserver.EtcdServer, failure *failure) error {
	node, err := raftNode(server)
	if err != nil {
		return err
	}
	electing, stop := context.WithCancel(ctx)
	defer stop()
	if len(server.Cluster().Members()) == 1 {
		go elect(electing, server, node)
	}
	select {
	case <-server.ReadyNotify():
		return nil
	case err := <-failure.errors:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// elect lets a lone member become the leader, as soon as that is safe.
//
// A raft member waits for a random time before it asks to be elected, a second or so with etcd's usual ticks, lest members
// compete. Shorter ticks would shorten that, but cost CPU for as long as the server runs. A lone member can just as well
// begin at once, which is what the message says that a leader sends who hands over.
//
// At once means: as soon as raft is through the part of its log that is known to be committed. Before that it may look for
// entries that etcd has dropped from memory because it knows already that they are applied, and then it ends the process.
//
// It may stay behind if raft ends in the middle of something; then so does the start.
func elect(ctx context.Context, server *etcdserver.EtcdServer, node raft.Node) {
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	self := uint64(server.MemberID())
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		}
		status := node.Status()
		if status.Lead != 0 {
			return
		}
		if status.Applied > 0 && status.Applied >= status.GetCommit() {
			// An error only means that it was too early.
			_ = server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &self, To: &self})
		}
	}
}

// raftNode returns what etcd does not show of itself: how far raft is can be asked nowhere else. What the server tells is how far
// the database is, which after a restart is ahead of raft from the beginning.
func raftNode(server *etcdserver.EtcdServer) (raft.Node, error) {
	if field := reflect.ValueOf(server).Elem().FieldByName("r"); field.IsValid() {
		if field = field.FieldByName("Node"); field.IsValid() {
			if node, ok := reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Interface().(raft.Node); ok {
				return node, nil
			}
		}
	}
	return nil, errors.New("this version of etcd keeps raft elsewhere")
}

// failure catches what etcd regards as reason enough to end the process, while the server is being opened.
type failure struct {
	errors chan error
	opened atomic.Bool
}

func (f *failure) report(err error) {
	select {
	case f.errors <- err:
	default: // the first one is the cause
	}
}

// OnWrite implements zapcore.CheckWriteHook for etcd's Fatal and Panic log entries. Nothing after them may run, so it ends
// the goroutine while the server is being opened, and panics later.
func (f *failure) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	text := []string{entry.Message}
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			text = append(text, err.Error())
		}
	}
	err := errors.New(strings.Join(text, ": "))
	if f.opened.Load() {
		panic(fmt.Errorf("etcd: %w", err))
	}
	f.report(err)
	runtime.Goexit()
}

func (f *failure) recoverPanic() {
	if r := recover(); r != nil {
		f.report(fmt.Errorf("the data cannot be read and may be damaged: etcd panicked: %v", r))
	}
}

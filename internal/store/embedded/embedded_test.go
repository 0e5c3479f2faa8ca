package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
	"github.com/kayak-k8s/kayak/internal/store/storetest"
)

// openOnly in the environment makes the test program a process that only opens the directory named there.
const openOnly = "KAYAK_TEST_OPEN_ONLY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(openOnly); dir != "" {
		s, err := embedded.Open(context.Background(), embedded.Options{Dir: dir})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		s.Close()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// shortDir is a directory whose path leaves room for a socket's name, which t.TempDir does not always.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "kayak")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "etcd")
}

func open(t testing.TB, opts embedded.Options) *embedded.Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = shortDir(t)
	}
	s, err := embedded.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// client connects to a store's socket, as etcdctl does.
func client(t testing.TB, dir string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"unix://" + filepath.Join(dir, embedded.SocketName)}, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStore(t *testing.T) {
	var mu sync.Mutex
	dirs := map[store.Store]string{}
	storetest.Run(t, func(t *testing.T) store.Store {
		dir := shortDir(t)
		s := open(t, embedded.Options{Dir: dir})
		mu.Lock()
		defer mu.Unlock()
		dirs[s] = dir
		return s
	}, storetest.Options{Txn: func(t *testing.T, s store.Store, changes map[string][]byte) int64 {
		mu.Lock()
		defer mu.Unlock()
		return transaction(t, client(t, dirs[s]), changes)
	}})
}

func transaction(t *testing.T, c *clientv3.Client, changes map[string][]byte) int64 {
	t.Helper()
	var ops []clientv3.Op
	for key, value := range changes {
		if value == nil {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(value)))
		}
	}
	resp, err := c.Txn(t.Context()).Then(ops...).Commit()
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func put(t testing.TB, s store.Store, key string, value []byte, expect int64) int64 {
	t.Helper()
	rev, err := s.Put(t.Context(), key, value, expect, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// What was written is there after a restart, with its history, and revisions go on from where they were.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	first := open(t, embedded.Options{Dir: dir})
	a := put(t, first, "/a", []byte("1"), 0)
	b := put(t, first, "/b", []byte("1"), 0)
	a2 := put(t, first, "/a", []byte("2"), a)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := open(t, embedded.Options{Dir: dir})
	if rev, err := second.Revision(t.Context()); err != nil || rev != a2 {
		t.Errorf("Revision after the restart: %d, %v; want %d", rev, err, a2)
	}
	page, err := second.Range(t.Context(), store.RangeOptions{Prefix: "/", Revision: b})
	if err != nil || len(page.KVs) != 2 || string(page.KVs[0].Value) != "1" {
		t.Errorf("Range at an old revision: %+v, %v", page, err)
	}
	if next := put(t, second, "/c", []byte("1"), 0); next != a2+1 {
		t.Errorf("the next revision is %d, want %d", next, a2+1)
	}
}

func TestDataIsPrivateAndThereIsNoNetwork(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	open(t, embedded.Options{Dir: dir})
	for path, want := range map[string]fs.FileMode{
		dir: fs.ModeDir | 0o700, filepath.Join(dir, embedded.SocketName): fs.ModeSocket | 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("mode of %s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	inodes := socketInodes(t)
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		table, err := os.ReadFile(file)
		if err != nil {
			t.Skipf("no %s: %v", file, err)
		}
		for _, line := range strings.Split(string(table), "\n")[1:] {
			const state, listening, inode = 3, "0A", 9
			f := strings.Fields(line)
			if len(f) > inode && f[state] == listening && inodes[f[inode]] {
				t.Errorf("this process listens on TCP: %s", line)
			}
		}
	}
}

// socketInodes are those of the sockets that this process has open.
func socketInodes(t *testing.T) map[string]bool {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes
}

// The socket of a process that was killed is in the way of nobody.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, embedded.SocketName)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s := open(t, embedded.Options{Dir: dir})
	rev := put(t, s, "/a", []byte("v"), 0)
	resp, err := client(t, dir).Get(t.Context(), "/a")
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].ModRevision != rev {
		t.Errorf("Get through the socket: %v, %v", resp, err)
	}
}

func TestDirectoryTooDeepForASocket(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	s := open(t, embedded.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	put(t, s, "/a", []byte("v"), 0)
	s.Close()
	if !strings.Contains(log.String(), "etcdctl cannot reach") {
		t.Errorf("log: %s", log.String())
	}
}

func TestOpenFailsWithOneClearError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"in use", func(t *testing.T, dir string) { open(t, embedded.Options{Dir: dir}) }, "in use by another process"},
		{"a file", func(t *testing.T, dir string) { write(t, dir, nil) }, "not a directory"},
		{"no database", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member", "snap", "db"), bytes.Repeat([]byte("no database"), 10_000))
		}, "cannot be opened: invalid database"},
		{"damaged write-ahead log", func(t *testing.T, dir string) {
			s := open(t, embedded.Options{Dir: dir})
			for i := range 20 {
				put(t, s, fmt.Sprintf("/%d", i), bytes.Repeat([]byte("x"), 3000), 0)
			}
			s.Close()
			logs, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
			damage(t, logs[0], 10_000)
		}, "crc"},
		{"empty write-ahead log", func(t *testing.T, dir string) {
			s := open(t, embedded.Options{Dir: dir})
			s.Close()
			logs, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
			write(t, logs[0], nil)
		}, "may be damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := shortDir(t)
			test.prepare(t, dir)
			// Another process: what etcd started before it failed cannot be stopped.
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			process := exec.CommandContext(ctx, os.Args[0])
			process.Env = append(os.Environ(), openOnly+"="+dir)
			output, err := process.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("the process ended with %v and the output %s", err, output)
			}
			line := strings.TrimSuffix(string(output), "\n")
			if !strings.Contains(line, test.want) || !strings.Contains(line, dir) || strings.Contains(line, "\n") {
				t.Errorf("output %q is not one line with %q and the directory", line, test.want)
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damage"), offset); err != nil {
		t.Fatal(err)
	}
}

const smallQuota = 24 << 20

// fill overwrites a key, whose revision is rev, until the quota is reached and no space can be reclaimed without dropping
// history.
func fill(t *testing.T, s store.Store, rev int64) int64 {
	t.Helper()
	value := make([]byte, 256<<10)
	for full := 0; full < 2; {
		next, err := s.Put(t.Context(), "/big", value, rev, store.PutOptions{})
		switch {
		case err == nil:
			rev, full = next, 0
		case errors.Is(err, store.ErrNoSpace):
			full++
			// The write may have happened (see store.ErrNoSpace).
			if kv, err := s.Get(t.Context(), "/big"); err == nil {
				rev = kv.Revision
			}
			// Reclaims what the file has grown by in advance.
			if err := s.Compact(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
		if rev > 10*smallQuota/int64(len(value)) {
			t.Fatal("the quota is not enforced")
		}
	}
	return rev
}

func TestQuota(t *testing.T) {
	t.Parallel()
	s := open(t, embedded.Options{QuotaBytes: smallQuota})
	small := put(t, s, "/small", []byte("v"), 0)
	rev := fill(t, s, 0)
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := s.Put(t.Context(), "/more", []byte("v"), 0, store.PutOptions{})
	check("Put when full", err, store.ErrNoSpace)
	_, err = s.Put(t.Context(), "/more", []byte("v"), 0, store.PutOptions{TTLSeconds: 60})
	check("Put with TTL when full", err, store.ErrNoSpace)
	_, err = s.Get(t.Context(), "/big")
	check("Get when full", err, nil)
	_, err = s.Range(t.Context(), store.RangeOptions{Prefix: "/"})
	check("Range when full", err, nil)
	_, err = s.Status(t.Context())
	check("Status when full", err, nil)
	_, err = s.Delete(t.Context(), "/small", small)
	check("Delete when full", err, nil)

	before, _ := s.Status(t.Context())
	check("Compact", s.Compact(t.Context(), rev), nil)
	after, _ := s.Status(t.Context())
	if before.SizeBytes < smallQuota*9/10 || after.SizeBytes > smallQuota/2 || after.QuotaBytes != smallQuota {
		t.Errorf("status before compaction: %+v, after: %+v", before, after)
	}
	for i := range 10 {
		put(t, s, fmt.Sprintf("/after/%d", i), []byte("v"), 0)
	}
	if kv, err := s.Get(t.Context(), "/big"); err != nil || kv.Revision != rev {
		t.Errorf("Get after defragmenting: %d, %v; want %d", kv.Revision, err, rev)
	}
}

// A store that was full when it was closed reclaims space when it is opened, if there is some or the quota has grown.
func TestQuotaIsCheckedOnOpen(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	s := open(t, embedded.Options{Dir: dir, QuotaBytes: smallQuota})
	rev := fill(t, s, 0)
	s.Close()

	s = open(t, embedded.Options{Dir: dir, QuotaBytes: smallQuota})
	if _, err := s.Put(t.Context(), "/more", []byte("v"), 0, store.PutOptions{}); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("Put after opening a full store: %v", err)
	}
	// As if the process had been killed between compacting and defragmenting.
	if _, err := client(t, dir).Compact(t.Context(), rev, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, embedded.Options{Dir: dir, QuotaBytes: smallQuota})
	put(t, s, "/more", []byte("v"), 0)
	fill(t, s, rev)
	s.Close()

	s = open(t, embedded.Options{Dir: dir, QuotaBytes: 4 * smallQuota})
	put(t, s, "/even-more", []byte("v"), 0)
}

// Closing does not wait for watchers and clients at the socket.
func TestCloseWithOpenWatches(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	s := open(t, embedded.Options{Dir: dir})
	put(t, s, "/a", []byte("v"), 0)
	c := client(t, dir)
	outside := c.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithRev(1))
	<-outside
	inside := make(chan error, 1)
	go func() { inside <- s.Watch(context.Background(), "/", 1, func(store.Batch) error { return nil }) }()
	started := time.Now()
	s.Close()
	t.Logf("Close took %v", time.Since(started))
	if err := <-inside; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Watch: %v", err)
	}
}

// Calls that race with Close return, with nil or ErrUnavailable, and never reach a closed database.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	s := open(t, embedded.Options{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := s.Put(t.Context(), fmt.Sprintf("/%d/%d", w, i), []byte("v"), 0, store.PutOptions{})
				if err == nil {
					_, err = s.Range(t.Context(), store.RangeOptions{Prefix: fmt.Sprintf("/%d/", w), Limit: 10})
				}
				if errors.Is(err, store.ErrUnavailable) {
					return
				}
				if err != nil {
					t.Errorf("under load: %v", err)
					return
				}
			}
		})
	}
	put(t, s, "/x", []byte("v"), 0)
	s.Close()
	wg.Wait()
}

func BenchmarkOpen(b *testing.B) {
	for _, restart := range []bool{false, true} {
		b.Run(fmt.Sprintf("restart=%v", restart), func(b *testing.B) {
			dir := shortDir(b)
			if restart {
				open(b, embedded.Options{Dir: dir}).Close()
			}
			var opening, closing time.Duration
			for i := 0; b.Loop(); i++ {
				opts := embedded.Options{Dir: dir}
				if !restart {
					opts.Dir = filepath.Join(dir, fmt.Sprint(i))
				}
				start := time.Now()
				s := open(b, opts)
				opening += time.Since(start)
				start = time.Now()
				s.Close()
				closing += time.Since(start)
				if !restart {
					os.RemoveAll(opts.Dir)
				}
			}
			b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "open-ms")
			b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "close-ms")
		})
	}
}

// BenchmarkPut updates objects of 3 KB, by so many goroutines at a time.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, embedded.Options{})
			value := bytes.Repeat([]byte("3 KB"), 768)
			work := make(chan struct{})
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					key, rev := fmt.Sprintf("/registry/pods/default/pod-%d", w), int64(0)
					for range work {
						var err error
						if rev, err = s.Put(context.Background(), key, value, rev, store.PutOptions{}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
		})
	}
}

// BenchmarkWatchLatency measures from the moment that Put returns until the watch has delivered the change. It may be
// there before: that counts as nothing.
func BenchmarkWatchLatency(b *testing.B) {
	s := open(b, embedded.Options{})
	delivered := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	rev := put(b, s, "/a", []byte("v"), 0)
	go s.Watch(ctx, "/", rev+1, func(store.Batch) error { delivered <- time.Now(); return nil })
	value := bytes.Repeat([]byte("3 KB"), 768)
	rev = put(b, s, "/a", value, rev)
	<-delivered
	var total, round time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		rev = put(b, s, "/a", value, rev)
		acknowledged := time.Now()
		at := <-delivered
		round += at.Sub(start)
		total += max(0, at.Sub(acknowledged))
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us-after-ack")
	b.ReportMetric(float64(round.Microseconds())/float64(b.N), "us-put-to-deliver")
}

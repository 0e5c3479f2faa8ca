package bootstrap

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// unprivileged runs f as a user whom permission bits bind. Root's own thread would pass by all of them; when the tests run as
// root, f gets a thread with another file system user, which ends with it (no UnlockOSThread).
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Error(err)
			return
		}
		if got, _ := unix.SetfsuidRetUid(-1); got != nobody {
			t.Errorf("file system user is %d", got)
			return
		}
		f()
	}()
	<-done
}

// openDir returns a directory that every user can reach; t.TempDir is below one that only its owner can enter.
func openDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	for d, m := range map[string]os.FileMode{filepath.Dir(dir): 0o711, dir: mode} {
		if err := os.Chmod(d, m); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	return dir
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	const advice = ": permission denied; give it to this user, or choose another directory"
	fails := func(dir, want string) {
		t.Helper()
		unprivileged(t, func() {
			if _, err := Prepare(testOptions(dir)); err == nil || err.Error() != want {
				t.Errorf("error %v\nwant %s", err, want)
			}
		})
	}

	unwritable := openDir(t, 0o555)
	fails(unwritable, unwritable+": directory cannot be written"+advice)
	below := filepath.Join(unwritable, "kayak")
	fails(below, below+": directory cannot be made"+advice)

	unreadable := openDir(t, 0o311)
	fails(unreadable, unreadable+": directory cannot be read"+advice)

	// A whole set, so that nothing has to be written, and the directory cannot be written.
	full := openDir(t, 0o755)
	mustPrepare(t, testOptions(full))
	for _, name := range fileNames() {
		if err := os.Chmod(filepath.Join(full, name), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(full, 0o555); err != nil {
		t.Fatal(err)
	}
	fails(full, full+": directory cannot be written"+advice)
	if err := os.Chmod(filepath.Join(full, "sa.key"), 0); err != nil {
		t.Fatal(err)
	}
	fails(full, filepath.Join(full, "sa.key")+": cannot be read: permission denied; correct its owner and mode")

	unprivileged(t, func() {
		if _, err := Lock(unwritable); err == nil || !strings.Contains(err.Error(), "kayak.lock: cannot be locked: permission denied") {
			t.Errorf("Lock: error %v", err)
		}
		if err := MergeKubeconfig(filepath.Join(unwritable, "config"), ours(t)); err == nil ||
			!strings.HasSuffix(err.Error(), "config.lock: cannot be made: permission denied") {
			t.Errorf("MergeKubeconfig: error %v", err)
		}
	})
}

func TestOwnerIsKept(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := MergeKubeconfig(path, ours(t)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != nobody {
		t.Errorf("the file now belongs to %d", owner)
	}
}

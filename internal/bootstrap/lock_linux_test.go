package bootstrap

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockEndsWithItsRelease has the lock file open a second time, as a child between fork and exec has: the release must not
// wait for that child.
func TestLockEndsWithItsRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	inChild := duplicate(t, filepath.Join(dir, lockFile))
	defer unix.Close(inChild)
	release()
	again, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// duplicate returns a duplicate of this process's descriptor of path.
func duplicate(t *testing.T, path string) int {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		if target, _ := os.Readlink(filepath.Join("/proc/self/fd", d.Name())); target != path {
			continue
		}
		fd, err := strconv.Atoi(d.Name())
		if err != nil {
			t.Fatal(err)
		}
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return dup
	}
	t.Fatalf("%s is not open", path)
	return -1
}

package bootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// Lock takes the data directory, which it makes when it is missing, for this server until release is called or the process
// ends, however it ends. It does not wait: when another server has it, in this process or in another, the error names that
// server's process id.
//
// The lock is the kernel's, on kayak.lock in the directory. The file itself stays: removing it would let two servers hold
// locks on two files of one name. Release unlocks before it closes: a child that this process forks at that moment has the
// file open too until it becomes another program, and would keep a lock that is only closed.
func Lock(dir string) (release func(), err error) {
	if dir, err = absDir(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be locked: %w; correct the owner and mode of the file and of its directory",
			path, reason(err))
	}
	if !locked {
		return nil, fmt.Errorf("data directory %s is in use by another kayak (pid %s)", dir, holder(path))
	}
	if err := writeHolder(path); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("%s: cannot be written: %w", path, reason(err))
	}
	return func() { lock.Unlock() }, nil
}

// writeHolder notes who has the lock, for people and for the error message only. The number has a fixed width so that one
// write replaces the one before.
func writeHolder(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(fmt.Appendf(nil, "%-20d\n", os.Getpid()), 0); err != nil {
		return err
	}
	return f.Truncate(21)
}

// holder returns the process id in the lock file; "unknown" when its owner has not written it yet.
func holder(path string) string {
	data, _, err := readFile(path)
	if err != nil {
		return "unknown"
	}
	pid := strings.TrimSpace(string(data))
	if _, err := strconv.Atoi(pid); err != nil {
		return "unknown"
	}
	return pid
}

package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// Lock takes the data directory, which it makes when it is missing, for this server until release is called or the process
// ends, however it ends. It does not wait: when another server has it, in this process or in another, the error names that
// server's process id.
//
// The lock is the kernel's, on kayak.lock in the directory. The file itself stays: removing it would let two servers hold
// locks on two files of one name.
func Lock(dir string) (release func(), err error) {
	if dir, err = absDir(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	f, err := fileutil.TryLockFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is in use by another kayak (pid %s)", dir, holder(path))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be locked: %w; correct the owner and mode of the file and of its directory",
			path, reason(err))
	}
	if err := writeHolder(f.File); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: cannot be written: %w", path, reason(err))
	}
	return func() { f.Close() }, nil
}

// writeHolder notes who has the lock, for people and for the error message only. The number has a fixed width so that one
// write replaces the one before.
func writeHolder(f *os.File) error {
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

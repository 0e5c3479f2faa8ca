package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const (
	kubeconfigFile = "admin.kubeconfig"
	lockFile       = "kayak.lock"
	// maxFile is far more than any of the files needs.
	maxFile = 1 << 20
)

// fileNames are the files that readFiles reads, in the order in which a first start writes them.
func fileNames() []string {
	ids := []identity{authorityID, servingID, adminID, serviceAccountID}
	var keys, rest []string
	for _, id := range ids {
		keys, rest = append(keys, id.key), append(rest, id.public)
	}
	return append(append(keys, rest...), kubeconfigFile)
}

func isSecret(name string) bool { return strings.HasSuffix(name, ".key") || name == kubeconfigFile }

func modeOf(name string) fs.FileMode {
	if isSecret(name) {
		return 0o600
	}
	return 0o644
}

// DefaultDataDir is where the data goes when nobody says where: /var/lib/kayak for root, $XDG_DATA_HOME/kayak for everybody
// else, where XDG_DATA_HOME is ~/.local/share when it is unset or not absolute (XDG Base Directory Specification 0.8). It fails
// when there is no home directory either.
func DefaultDataDir() (string, error) {
	return defaultDataDir(os.Geteuid(), os.Getenv)
}

func defaultDataDir(uid int, getenv func(string) string) (string, error) {
	if uid == 0 {
		return "/var/lib/kayak", nil
	}
	if data := getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "kayak"), nil
	}
	home := getenv("HOME")
	if runtime.GOOS == "windows" {
		home = getenv("USERPROFILE")
	}
	if home == "" {
		return "", errors.New("no data directory: neither XDG_DATA_HOME nor HOME is set; name one with --data-dir")
	}
	return filepath.Join(home, ".local", "share", "kayak"), nil
}

func absDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("the data directory has no name")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory %s: %w", dir, err)
	}
	return abs, nil
}

// makeDir makes dir and its missing parents, mode 0700, durably; a directory that is there is left as it is.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s: is a file, not a directory; remove it or choose another directory", dir)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return dirError(dir, "cannot be read", err)
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return dirError(dir, "cannot be made", err)
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return dirError(dir, "cannot be made", err)
	}
	// A parent may be writable but not readable, and then cannot be synced. What is lost is only the safety against a loss of
	// power right after the first start.
	_ = syncDir(parent)
	return nil
}

func dirError(dir, problem string, err error) error {
	return fmt.Errorf("%s: directory %s: %w; give it to this user, or choose another directory", dir, problem, reason(err))
}

// readFiles returns the contents of the known files that are in dir, by name.
func readFiles(dir string, log *slog.Logger) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, dirError(dir, "cannot be read", err)
	}
	if info, err := os.Stat(dir); err == nil && othersCan(info, 0o022) {
		log.Warn("other users can write to the data directory; chmod go-w is recommended", "dir", dir, "mode", info.Mode())
	}
	known := fileNames()
	have := map[string][]byte{}
	for _, entry := range entries {
		if !slices.Contains(known, entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		data, info, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if isSecret(entry.Name()) && othersCan(info, 0o077) {
			log.Warn("other users can read a private key; chmod 600 is recommended", "file", path, "mode", info.Mode())
		}
		have[entry.Name()] = data
	}
	return have, nil
}

// othersCan reports whether somebody other than the owner has one of the permissions. Windows has no such bits.
func othersCan(info fs.FileInfo, perm fs.FileMode) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&perm != 0
}

// readFile reads a regular file of sensible size: reading a pipe or a device would not end.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	fail := func(err error) ([]byte, fs.FileInfo, error) {
		return nil, nil, fmt.Errorf("%s: cannot be read: %w; correct its owner and mode", path, reason(err))
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: is not a regular file; move it away", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("%s: is larger than 1 MiB, so it is not what it should be; move it away", path)
	}
	return data, info, nil
}

// leftover is the prefix of the temporary files that become the file name.
func leftover(name string) string { return "." + name + ".tmp-" }

// removeLeftovers removes what a crash in the middle of writeFile left. It may hold a private key.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return dirError(dir, "cannot be read", err)
	}
	for _, entry := range entries {
		mine := func(name string) bool { return strings.HasPrefix(entry.Name(), leftover(name)) }
		if !slices.ContainsFunc(append(fileNames(), lockFile), mine) || entry.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return dirError(dir, "cannot be written", err)
		}
	}
	return nil
}

// checkWritable asks by doing: permission bits do not tell of read-only file systems and the like.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, leftover(lockFile))
	if err != nil {
		return dirError(dir, "cannot be written", err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// writeFile puts data at path so that at every moment there is either the old file or the whole new one. The file gets the
// mode, and keeps its owner if it was there. To survive a loss of power the directory must be synced after it.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	err := replaceFile(path, data, mode)
	if err != nil {
		return fmt.Errorf("%s: cannot be written: %w", path, reason(err))
	}
	return nil
}

func replaceFile(path string, data []byte, mode fs.FileMode) (err error) {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, leftover(name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := keepOwner(f, path); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// reason strips the operation and the path from an error of package os: our messages have named the file already.
func reason(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var linkErr *os.LinkError
	if errors.As(err, &linkErr) {
		return linkErr.Err
	}
	return err
}

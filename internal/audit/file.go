package audit

import (
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// file is a log file that is renamed when it becomes too large, and begun anew. Names and rules are those of lumberjack
// (gopkg.in/natefinch/lumberjack.v2), which kube-apiserver uses, so that the one goes on where the other ends. Other than that, it
// leaves no goroutine behind, and an event that is larger than a file may be is not lost.
type file struct {
	path   string
	limits Log

	mu   sync.Mutex // guards the following fields
	max  int64      // 0: none
	out  *os.File
	size int64

	// tidying are the removals and compressions under way, one at a time.
	tidying  sync.WaitGroup
	tidyTurn sync.Mutex
}

// openFile opens a file for appending; it must be closed.
func openFile(limits Log) (*file, error) {
	f := &file{path: limits.Path, limits: limits, max: int64(limits.MaxSize) << 20}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, err
	}
	if err := f.open(0o600); err != nil {
		return nil, err
	}
	if f.max > 0 {
		f.tidy()
	}
	return f, nil
}

func (f *file) open(mode os.FileMode) error {
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	if !info.Mode().IsRegular() {
		f.max = 0 // a terminal, or a pipe
	}
	f.out, f.size = out, info.Size()
	return nil
}

// Write writes one event, all of it into one file.
func (f *file) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out == nil { // it could not be begun anew; perhaps it can now
		if err := f.open(0o600); err != nil {
			return 0, err
		}
	}
	if f.max > 0 && f.size > 0 && f.size+int64(len(b)) > f.max {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.out.Write(b)
	f.size += int64(n)
	return n, err
}

// rotate renames the file and begins another one.
func (f *file) rotate() error {
	info, err := f.out.Stat()
	if err != nil {
		return err
	}
	err = f.out.Close()
	f.out = nil
	if err != nil {
		return err
	}
	if err := os.Rename(f.path, f.backup(time.Now())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.open(info.Mode().Perm()); err != nil {
		return err
	}
	f.tidy()
	return nil
}

// backupTime is how the name of a renamed file has the time.
const backupTime = "2006-01-02T15-04-05.000"

// affixes are what the time stands between.
func (f *file) affixes() (prefix, extension string) {
	extension = filepath.Ext(f.path)
	return strings.TrimSuffix(filepath.Base(f.path), extension) + "-", extension
}

// backup returns a name that there is not yet.
func (f *file) backup(now time.Time) string {
	prefix, extension := f.affixes()
	for ; ; now = now.Add(time.Millisecond) {
		path := filepath.Join(filepath.Dir(f.path), prefix+now.UTC().Format(backupTime)+extension)
		if _, err := os.Lstat(path); err != nil {
			return path
		}
	}
}

// Close closes the file, and waits for what is done to older ones.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tidying.Wait()
	if f.out == nil {
		return nil
	}
	return f.out.Close()
}

// tidy removes and compresses renamed files, in the background: it must not keep requests waiting.
func (f *file) tidy() {
	if f.limits.MaxAge == 0 && f.limits.MaxBackups == 0 && !f.limits.Compress {
		return
	}
	f.tidying.Go(func() {
		f.tidyTurn.Lock()
		defer f.tidyTurn.Unlock()
		for i, b := range f.backups() {
			switch {
			case f.limits.MaxBackups > 0 && i >= f.limits.MaxBackups,
				f.limits.MaxAge > 0 && time.Since(b.time) > time.Duration(f.limits.MaxAge)*24*time.Hour:
				_ = os.Remove(b.path) // what cannot be removed now is tried again with the next one
			case f.limits.Compress && !strings.HasSuffix(b.path, compressed):
				_ = compress(b.path) // likewise
			}
		}
	})
}

// compressed is the end of a compressed file's name.
const compressed = ".gz"

// renamed is a file that has been renamed.
type renamed struct {
	path string
	time time.Time
}

// backups lists the renamed files, the newest first.
func (f *file) backups() []renamed {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil
	}
	prefix, extension := f.affixes()
	var found []renamed
	for _, entry := range entries {
		name, ok := strings.CutPrefix(strings.TrimSuffix(entry.Name(), compressed), prefix)
		text, ends := strings.CutSuffix(name, extension)
		if !ok || !ends {
			continue
		}
		if at, err := time.Parse(backupTime, text); err == nil {
			found = append(found, renamed{filepath.Join(filepath.Dir(f.path), entry.Name()), at})
		}
	}
	slices.SortFunc(found, func(a, b renamed) int { return cmp.Or(b.time.Compare(a.time), strings.Compare(a.path, b.path)) })
	return found
}

// compress replaces a file by a compressed one.
func compress(path string) (err error) {
	in, err := os.Open(path) //nolint:gosec // one of ours
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path+compressed, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path+compressed))
	}
	return os.Remove(path)
}

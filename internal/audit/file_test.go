package audit

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

// A file that becomes too large is renamed; the older ones are compressed, and those too many or too old removed. Events are
// nowhere torn, and none is lost, however large.
func TestRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "audit.log")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(filepath.Dir(path), "audit-2001-02-03T04-05-06.789.log.gz")
	for _, other := range []string{old, filepath.Join(filepath.Dir(path), "audit-other.log")} {
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openFile(Log{Path: path, MaxSize: 1, MaxBackups: 3, MaxAge: 1, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	f.tidying.Wait()
	if _, err := os.Stat(old); err == nil {
		t.Error("a file from long ago has been kept")
	}
	line := append(bytes.Repeat([]byte("x"), 300<<10), '\n')
	large := append(bytes.Repeat([]byte("y"), 2<<20), '\n')
	for _, b := range [][]byte{line, line, line, line, line, large, line} { // 3, 2, the large one, 1
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	found := f.backups()
	if len(found) != 3 {
		t.Fatalf("there are %v", names(t, filepath.Dir(path)))
	}
	for i, want := range []int{len(large), 2 * len(line), 3 * len(line)} { // the newest first
		in, err := os.Open(found[i].path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil || len(plain) != want {
			t.Errorf("%s has %d bytes, want %d, error %v", found[i].path, len(plain), want, err)
		}
		_ = in.Close()
		if time.Since(found[i].time).Abs() > time.Hour {
			t.Errorf("%s is of another time", found[i].path)
		}
	}
	// One more is one too many.
	if f, err = openFile(f.limits); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(large); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, filepath.Dir(path)), " "); strings.Count(got, ".log.gz") != 3 || !strings.Contains(got, "audit-other.log") {
		t.Errorf("there are %s", got)
	}
}

// What lumberjack renames, and how it names that, is found here.
func TestLumberjacksFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := &lumberjack.Logger{Filename: path, MaxSize: 1}
	for range 2 {
		if _, err := l.Write(bytes.Repeat([]byte("x"), 600<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := &file{path: path}
	if found := f.backups(); len(found) != 1 {
		t.Errorf("of %v %v are found", names(t, filepath.Dir(path)), found)
	}
}

// Without a limit a file grows.
func TestNoRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a")
	for range 2 {
		f, err := openFile(Log{Path: path, MaxBackups: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 2<<20)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 4<<20 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, error %v", info, err)
	}
}

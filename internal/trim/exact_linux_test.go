package trim

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of a mapping that is mapped exactly, touching one page makes one page resident, and what is read is what is in the file.
func TestMapExactly(t *testing.T) {
	t.Parallel()
	watch := exact()
	if watch < 0 {
		t.Skip("the system has no userfaultfd for asynchronous write protection, or does not allow it")
	}
	defer unix.Close(watch)
	const size = 4 << 20
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapped, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	start := uint64(uintptr(unsafe.Pointer(&mapped[0])))
	mapExactly(watch, start, size)
	if mapped[size/2] != 'x' {
		t.Error("the file is read wrongly")
	}
	if got, want := resident(t, start), fmt.Sprintf("%d kB", os.Getpagesize()>>10); got != want {
		t.Errorf("%s are resident, want %s", got, want)
	}
}

// resident returns how much of the mapping at an address is resident.
func resident(t *testing.T, start uint64) string {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	here := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		line := lines.Text()
		if !here {
			here = strings.HasPrefix(line, fmt.Sprintf("%x-", start))
		} else if rest, ok := strings.CutPrefix(line, "Rss:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatal("there is no such mapping")
	return ""
}

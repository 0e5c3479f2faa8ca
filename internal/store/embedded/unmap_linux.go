package embedded

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unmap lets go of the pages of the database that are mapped: all of it after a start, which reads the file through once, and
// later whatever was written. They count as the process's memory for as long as the system is not short of it. What is needed again
// comes back from the page cache. It does nothing where the system has no such thing.
//
// A transaction is open meanwhile, because then the database is not mapped anew: what is at its address now stays there. The
// mapping is shared and read-only, so there is nothing in it that the file does not have.
func (s *Store) Unmap() {
	if s.enter(context.Background()) != nil {
		return
	}
	defer s.mu.RUnlock()
	path := filepath.Join(s.server.Cfg.DataDir, "member", "snap", "db")
	tx := s.server.Backend().ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if start, length := databaseMapping(lines.Text(), stat.Ino); length > 0 {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED)
		}
	}
}

// databaseMapping reads a line of /proc/self/maps: start-end permissions offset device inode path. Length is 0 unless it is a
// shared, read-only mapping of the database with an inode.
func databaseMapping(line string, inode uint64) (start, length uintptr) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "r--s" || fields[4] != strconv.FormatUint(inode, 10) || !strings.HasSuffix(line, "/member/snap/db") {
		return 0, 0
	}
	from, to, _ := strings.Cut(fields[0], "-")
	first, errFirst := strconv.ParseUint(from, 16, 64)
	end, errEnd := strconv.ParseUint(to, 16, 64)
	if errFirst != nil || errEnd != nil || end <= first {
		return 0, 0
	}
	return uintptr(first), uintptr(end - first)
}

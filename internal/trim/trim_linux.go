package trim

import (
	"bufio"
	"debug/elf"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watching is the process's watch of its own mappings, made once; see exact.
var watching = sync.OnceValue(exact)

// unmapText drops the page table entries of the program file's read-only segments. Nothing has ever written to those pages, so
// nothing can be lost: the next access maps the page again (madvise(2), MADV_DONTNEED on a private file mapping).
//
// That a mapping is read-only now does not say that nobody has written to it: the dynamic linker writes to parts of the data
// segment and protects them afterwards (RELRO). What counts is the segment that the mapping belongs to.
//
// Errors are of no consequence: then the pages stay.
func unmapText() {
	segments, err := readOnlySegments("/proc/self/exe")
	if err != nil {
		return
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	watch := watching()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		m, ok := parseMapping(lines.Text())
		if !ok || m.path != program || m.writable {
			continue
		}
		for _, s := range segments {
			if start, length := m.part(s); length > 0 {
				if !s.code { // code in large pages, where the system has it so, saves more CPU time than it costs memory
					mapExactly(watch, start, length)
				}
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(length), unix.MADV_DONTNEED)
			}
		}
	}
}

// segment is a part of a file, in bytes; code is executable.
type segment struct {
	offset, end uint64
	code        bool
}

// readOnlySegments returns the parts of an ELF file that are loaded and never writable, without the pages at their ends that
// they may share with other segments.
func readOnlySegments(path string) ([]segment, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	page := uint64(os.Getpagesize())
	var list []segment
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 {
			list = append(list, segment{(p.Off + page - 1) &^ (page - 1), (p.Off + p.Filesz) &^ (page - 1), p.Flags&elf.PF_X != 0})
		}
	}
	return list, nil
}

// mapping is a line of /proc/PID/maps: start-end permissions offset device inode path.
type mapping struct {
	start, length, offset uint64
	writable              bool
	path                  string
}

func parseMapping(line string) (mapping, bool) {
	fields := strings.Fields(line)
	if len(fields) != 6 {
		return mapping{}, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, errStart := strconv.ParseUint(from, 16, 64)
	end, errEnd := strconv.ParseUint(to, 16, 64)
	offset, errOffset := strconv.ParseUint(fields[2], 16, 64)
	if errStart != nil || errEnd != nil || errOffset != nil || end <= start {
		return mapping{}, false
	}
	return mapping{start, end - start, offset, strings.Contains(fields[1], "w"), fields[5]}, true
}

// part returns the addresses at which the mapping shows the segment; length is 0 when it does not.
func (m mapping) part(s segment) (start, length uint64) {
	from, to := max(m.offset, s.offset), min(m.offset+m.length, s.end)
	if from >= to {
		return 0, 0
	}
	return m.start + from - m.offset, to - from
}

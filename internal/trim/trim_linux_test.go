package trim

import (
	"debug/elf"
	"os"
	"testing"
)

// Nothing that the data segment was mapped from may be unmapped, whatever its permissions are now: the dynamic linker has
// written to it.
func TestDataSegmentIsLeftAlone(t *testing.T) {
	t.Parallel()
	file, err := elf.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	segments, err := readOnlySegments(os.Args[0])
	if err != nil || len(segments) == 0 {
		t.Fatalf("%v, %v", segments, err)
	}
	page := uint64(os.Getpagesize())
	for _, p := range file.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W == 0 {
			continue
		}
		for offset := p.Off &^ (page - 1); offset < p.Off+p.Filesz; offset += page {
			relro := mapping{start: page, length: page, offset: offset}
			for _, s := range segments {
				if start, length := relro.part(s); length > 0 {
					t.Fatalf("of the page at %#x of the data segment, %d bytes at %#x would be unmapped", offset, length, start)
				}
			}
		}
	}
}

func TestPart(t *testing.T) {
	t.Parallel()
	m := mapping{start: 0x10000, length: 0x4000, offset: 0x1000}
	for _, test := range []struct {
		segment       segment
		start, length uint64
	}{
		{segment{offset: 0, end: 0x1000}, 0, 0},
		{segment{offset: 0x5000, end: 0x9000}, 0, 0},
		{segment{offset: 0, end: 0x9000}, 0x10000, 0x4000},
		{segment{offset: 0x2000, end: 0x3000}, 0x11000, 0x1000},
		{segment{offset: 0x4000, end: 0x9000}, 0x13000, 0x1000},
	} {
		if start, length := m.part(test.segment); start != test.start || length != test.length {
			t.Errorf("%v: %#x %#x", test.segment, start, length)
		}
	}
}

func TestParseMapping(t *testing.T) {
	t.Parallel()
	got, ok := parseMapping("56443fd7e000-56443fd97000 r-xp 00004000 fe:00 247530                     /usr/bin/mawk")
	want := mapping{0x56443fd7e000, 0x19000, 0x4000, false, "/usr/bin/mawk"}
	if !ok || got != want {
		t.Fatalf("%+v %v", got, ok)
	}
	for _, line := range []string{"", "7ffd000-7ffe000 rw-p 00000000 00:00 0", "x-y r--p 0 0 0 /x", "2-1 r--p 0 0 0 /x"} {
		if m, ok := parseMapping(line); ok {
			t.Fatalf("%q: %+v", line, m)
		}
	}
}

package trim

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What linux/userfaultfd.h defines and golang.org/x/sys/unix does not.
const (
	uffdUserModeOnly   = 1
	uffdAPI            = 0xaa
	uffdFeatureWPAsync = 1 << 15
	uffdModeWP         = 1 << 1
	uffdioAPI          = 0xc018aa3f
	uffdioRegister     = 0xc020aa00
)

type uffdioAPIArgs struct{ api, features, ioctls uint64 }

type uffdioRegisterArgs struct{ start, length, mode, ioctls uint64 }

// exact lets the kernel map what is touched and not what is around it.
//
// Linux maps around a page that is touched: 64 KB, and since 6.18 the whole piece of the page cache that the page is in, which
// may have 2 MB. Of 75 MB of tables and constants, of which a server that has nothing to do needs 3 MB here and there, 55 MB are
// resident then. There is no advice against that. But where userfaultfd(2) watches a mapping, the kernel maps page by page, and in the mode for
// asynchronous write protection (Linux 6.7) that is all it does: it asks nobody, there are no faults to answer, and nothing is
// protected unless somebody asks for it. Nothing writes to these mappings anyway.
//
// The descriptor stays open for as long as the process lives; that keeps the watch. It returns -1 where the system has no such
// thing, or does not allow it, as some containers do: then what is around is mapped as ever.
func exact() (watch int) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return -1
	}
	args := uffdioAPIArgs{api: uffdAPI, features: uffdFeatureWPAsync}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uffdioAPI, uintptr(unsafe.Pointer(&args))); errno != 0 {
		_ = unix.Close(int(fd))
		return -1
	}
	return int(fd)
}

// mapExactly makes a part of a mapping one of which only what is touched is mapped.
func mapExactly(watch int, start, length uint64) {
	if watch < 0 {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(length), unix.MADV_NOHUGEPAGE)
	args := uffdioRegisterArgs{start: start, length: length, mode: uffdModeWP}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(watch), uffdioRegister, uintptr(unsafe.Pointer(&args)))
}

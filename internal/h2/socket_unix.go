//go:build unix

package h2

import (
	"net"
	"syscall"
)

// canAttempt says that a descriptor can be written without waiting: Go's are non-blocking.
const canAttempt = true

// try is what push does with the descriptor. It always reports true: that it is done, whatever came of it.
func (s *socket) try(fd uintptr) bool {
	for s.sent < len(s.out.b) {
		n, err := syscall.Write(int(fd), s.out.b[s.sent:])
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			s.failure = &net.OpError{Op: "write", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
			break
		}
		s.sent += n
	}
	return true
}

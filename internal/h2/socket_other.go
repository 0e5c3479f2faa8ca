//go:build !unix

package h2

// canAttempt says that sockets are no file descriptors here: a goroutine that waits writes them.
const canAttempt = false

func (s *socket) try(uintptr) bool { return true }

package memory

import (
	"os"
	"runtime"
)

// Floor makes the garbage collector take the heap for larger than it is, by size bytes, until release is called. Go collects
// when the heap has doubled; a server with a few megabytes of its own would collect after every few hundred writes, and spend a
// sixth of its time with it.
//
// The bytes are never touched, so they are never resident; but as much garbage again may be, and where there is little memory they
// are fewer, a sixteenth of the limit. Where the environment says how to collect (GOGC, GOMEMLIMIT), that holds, and Floor does
// nothing.
func Floor(size int) (release func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	untouched := make([]byte, bounded(size, Limit()))
	return func() { runtime.KeepAlive(untouched) }
}

// bounded is the size of a floor where the process may use so many bytes; 0: nobody knows.
func bounded(size int, limit int64) int64 {
	if limit <= 0 {
		return int64(size)
	}
	return min(int64(size), limit/16)
}

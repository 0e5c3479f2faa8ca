// Package trim gives back memory that only the start of a program needed.
//
// A Go program with many packages runs through most of its code once, while packages initialise. Linux then keeps those pages
// of the program file mapped for as long as it is not short of memory, and counts them as resident, although they are never
// used again. [Program] unmaps them: the pages that are still in use come back from the page cache, without any reading from disk,
// and those of tables and constants one by one (exact_linux.go). [WhenIdle] does it again whenever the program comes to rest.
package trim

import "runtime/debug"

// Program returns free heap to the system and unmaps the program's own pages. It is meant for a program that has become idle,
// and takes as long as a garbage collection and some milliseconds. Where the system has no such thing, only the heap is
// returned.
func Program() {
	debug.FreeOSMemory()
	unmapText()
}

package trim

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// idlePeriod is how long next to nothing must be allocated.
	idlePeriod = 3 * time.Second
	// idleAllocation is what, in bytes, is next to nothing.
	idleAllocation = 4 << 20
	// worthwhile is how many bytes there must be to give back, and what part of the live heap.
	worthwhile     = 16 << 20
	worthwhilePart = 8
)

// WhenIdle calls [Program] whenever the program has become idle after work that has left much garbage. Go lets the heap grow to
// twice of what lives in it before it collects, which saves CPU time under load; a program that has nothing to do would keep
// that garbage for minutes, and what the heap once needed longer still.
//
// Nothing is polled: each collection, which only a program that allocates comes to, starts a clock that stops once the program
// is idle. It lasts for the life of the process; call it once. Then also is called as well, for what only it knows how to give
// back.
func WhenIdle(also func()) {
	i := &idler{allocated: allocated, reclaimable: reclaimable, trim: func() {
		Program()
		also()
	}}
	i.nextCollection()
}

// idler waits for idleness. The functions are the process's, or a test's.
type idler struct {
	allocated   func() uint64                 // all bytes ever allocated
	reclaimable func() (garbage, live uint64) // what trim would give back, and what it would not
	trim        func()

	mu      sync.Mutex // guards the fields below
	waiting bool       // look will be called
	before  uint64     // allocated when look was called last
}

// sentinel is garbage from the start, so that its cleanup tells of the next collection. The pointer keeps it out of the blocks
// that small objects share.
type sentinel struct{ _ *idler }

func (i *idler) nextCollection() {
	runtime.AddCleanup(&sentinel{}, func(i *idler) {
		i.collected()
		i.nextCollection()
	}, i)
}

// collected notes a collection.
func (i *idler) collected() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.waiting {
		return
	}
	i.waiting, i.before = true, i.allocated()
	time.AfterFunc(idlePeriod, i.look)
}

// look sees whether the program was idle for a period.
func (i *idler) look() {
	i.mu.Lock()
	now := i.allocated()
	idle := now-i.before < idleAllocation
	i.before, i.waiting = now, !idle
	i.mu.Unlock()
	if !idle {
		time.AfterFunc(idlePeriod, i.look)
		return
	}
	if garbage, live := i.reclaimable(); garbage > max(worthwhile, live/worthwhilePart) {
		i.trim()
	}
}

func allocated() uint64 {
	return read("/gc/heap/allocs:bytes")[0]
}

// reclaimable counts what has become garbage since the last collection as if all of it had, and what the heap keeps free.
func reclaimable() (garbage, live uint64) {
	v := read("/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes")
	live = v[0]
	return max(v[1], live) - live + v[2], live
}

func read(names ...string) []uint64 {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	values := make([]uint64, len(names))
	for i := range samples {
		values[i] = samples[i].Value.Uint64()
	}
	return values
}

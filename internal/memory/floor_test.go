package memory

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// goal is the size of the heap at which the next collection begins.
func goal() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	runtime.GC()
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Not parallel: the environment is the process's, and so is the heap.
func TestFloor(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	const size = 64 << 20
	release := Floor(size)
	if got := goal(); got < 2*size {
		t.Errorf("the next collection is at %d bytes", got)
	}
	release()
	if got := goal(); got >= 2*size {
		t.Errorf("after the release, the next collection is at %d bytes", got)
	}
	t.Setenv("GOGC", "100")
	defer Floor(size)()
	if got := goal(); got >= 2*size {
		t.Errorf("with GOGC, the next collection is at %d bytes", got)
	}
}

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

func TestFloorWithLittleMemory(t *testing.T) {
	t.Parallel()
	const size = 48 << 20
	for limit, want := range map[int64]int64{0: size, 8 << 30: size, 768 << 20: size, 256 << 20: 16 << 20} {
		if got := bounded(size, limit); got != want {
			t.Errorf("with %d bytes the floor is %d, want %d", limit, got, want)
		}
	}
}

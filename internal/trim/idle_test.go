package trim

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// process is one whose figures a test sets.
type process struct {
	allocations, garbage, live uint64
	trimmed                    int
}

func (p *process) idler() *idler {
	return &idler{
		allocated:   func() uint64 { return p.allocations },
		reclaimable: func() (uint64, uint64) { return p.garbage, p.live },
		trim:        func() { p.trimmed++; p.garbage = 0 },
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &process{garbage: 100 << 20, live: 100 << 20}
		i := p.idler()
		i.collected()
		for range 5 { // at work
			time.Sleep(idlePeriod / 2)
			p.allocations += 10 << 20
			i.collected()
		}
		if synctest.Wait(); p.trimmed != 0 {
			t.Fatal("trimmed at work")
		}
		time.Sleep(3 * idlePeriod)
		if synctest.Wait(); p.trimmed != 1 {
			t.Fatalf("trimmed %d times after work", p.trimmed)
		}
		i.collected() // that of the trim itself
		time.Sleep(10 * idlePeriod)
		if synctest.Wait(); p.trimmed != 1 {
			t.Fatalf("trimmed %d times with nothing to give back", p.trimmed)
		}
		p.garbage = 100 << 20
		time.Sleep(10 * idlePeriod)
		if synctest.Wait(); p.trimmed != 1 {
			t.Fatal("trimmed without a collection before")
		}
		i.collected()
		time.Sleep(2 * idlePeriod)
		if synctest.Wait(); p.trimmed != 2 {
			t.Fatalf("trimmed %d times after new work", p.trimmed)
		}
	})
}

func TestIdleWithLittleGarbage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []*process{{garbage: worthwhile, live: 1 << 20}, {garbage: 100 << 20, live: 100 << 20 * worthwhilePart}} {
			p.idler().collected()
			time.Sleep(10 * idlePeriod)
			if synctest.Wait(); p.trimmed != 0 {
				t.Errorf("%+v", *p)
			}
		}
	})
}

// A collection is noticed, every time, and the process's own figures can be read.
func TestCollections(t *testing.T) {
	t.Parallel()
	noticed := make(chan struct{}, 100)
	i := &idler{allocated: func() uint64 { noticed <- struct{}{}; return allocated() }, reclaimable: reclaimable, trim: func() {}}
	i.nextCollection()
	for range 3 {
		i.mu.Lock()
		i.waiting = false
		i.mu.Unlock()
		for done := false; !done; { // a collection that began before the sentinel was there does not count
			runtime.GC()
			select {
			case <-noticed:
				done = true
			default:
				runtime.Gosched()
			}
		}
	}
	if _, live := reclaimable(); live == 0 {
		t.Error("nothing lives")
	}
}

package custom

import "sync"

// running is work in goroutines, at most one for each name.
//
// Ownership: mu guards names. A name is there while its goroutine runs, with true if the work is to be done once more: what it was
// started for may have come after it had looked, as when a definition is made anew, and deleted, before the goroutine that has
// taken the one before away has ended.
type running struct {
	group sync.WaitGroup
	mu    sync.Mutex
	names map[string]bool
}

func newRunning() *running { return &running{names: map[string]bool{}} }

// start runs fn, if something is running under the name after that. fn looks by itself whether there is anything to do.
func (r *running) start(name string, fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.names[name]; there {
		r.names[name] = true
		return
	}
	r.names[name] = false
	r.group.Go(func() {
		for again := true; again; again = r.again(name) {
			fn()
		}
	})
}

// again reports whether the work is to be done once more, and if it is not lets go of the name.
func (r *running) again(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.names[name]
	if r.names[name] = false; !again {
		delete(r.names, name)
	}
	return again
}

func (r *running) wait() { r.group.Wait() }

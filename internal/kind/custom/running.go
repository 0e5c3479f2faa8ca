package custom

import "sync"

// running is work in goroutines, at most one for each name.
type running struct {
	group sync.WaitGroup
	mu    sync.Mutex
	names map[string]bool
}

func newRunning() *running { return &running{names: map[string]bool{}} }

// start runs fn, unless something is running under the name.
func (r *running) start(name string, fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] {
		return
	}
	r.names[name] = true
	r.group.Go(func() {
		fn()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.names, name)
	})
}

func (r *running) wait() { r.group.Wait() }

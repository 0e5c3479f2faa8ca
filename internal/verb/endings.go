package verb

import "sync"

// Endings tell detached watches of custom resources that what they watch is no longer served as it was when they began. A definition
// that is watched takes one goroutine, however many watch. The zero value is ready; with nil such watches have a goroutine each.
type Endings struct {
	mu sync.Mutex // guards the following, and what is in it
	of map[<-chan struct{}]*ending
}

// ending is who is to be told when a channel is closed.
type ending struct {
	watchers map[*watcher]struct{}
	unwanted chan struct{} // closed when there are none any more
}

func (e *Endings) add(done <-chan struct{}, w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[<-chan struct{}]*ending{}
	}
	at := e.of[done]
	if at == nil {
		at = &ending{watchers: map[*watcher]struct{}{}, unwanted: make(chan struct{})}
		e.of[done] = at
		go e.wait(done, at)
	}
	at.watchers[w] = struct{}{}
}

func (e *Endings) wait(done <-chan struct{}, at *ending) {
	select {
	case <-done:
	case <-at.unwanted:
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for w := range at.watchers {
		w.detached.wake()
	}
	if e.of[done] == at {
		delete(e.of, done) // whoever comes only now is told by another
	}
}

func (e *Endings) remove(done <-chan struct{}, w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.of[done]
	if at == nil {
		return
	}
	delete(at.watchers, w)
	if len(at.watchers) == 0 {
		delete(e.of, done)
		close(at.unwanted)
	}
}

package verb

import "testing"

// TestEndings: whoever watches what ends is told, also who begins when the others have been told but are still there; who has gone is not.
func TestEndings(t *testing.T) {
	t.Parallel()
	var endings Endings
	done := make(chan struct{})
	began := func() (*watcher, chan struct{}) {
		told := make(chan struct{})
		w := &watcher{detached: &detached{wake: func() { close(told) }}}
		endings.add(done, w)
		return w, told
	}
	first, firstTold := began()
	gone, goneTold := began()
	endings.remove(done, gone)
	close(done)
	<-firstTold
	late, lateTold := began()
	<-lateTold
	for _, w := range []*watcher{first, late, gone} {
		endings.remove(done, w)
	}
	select {
	case <-goneTold:
		t.Error("one that had gone was told")
	default:
	}
	endings.mu.Lock()
	defer endings.mu.Unlock()
	if len(endings.of) != 0 {
		t.Errorf("%d are left", len(endings.of))
	}
}

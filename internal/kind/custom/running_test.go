package custom

import (
	"sync/atomic"
	"testing"
)

// TestRunningOnceMore: what is started while something runs under its name is not forgotten, and what is started often runs once more.
func TestRunningOnceMore(t *testing.T) {
	t.Parallel()
	r := newRunning()
	inside, leave := make(chan struct{}), make(chan struct{})
	var runs atomic.Int32
	work := func() {
		if runs.Add(1) == 1 {
			close(inside)
			<-leave
		}
	}
	r.start("a", work)
	<-inside
	r.start("a", work)
	r.start("a", work)
	r.start("b", func() {})
	close(leave)
	r.wait()
	if got := runs.Load(); got != 2 {
		t.Errorf("it ran %d times, want 2", got)
	}
	r.start("a", work)
	r.wait()
	if got := runs.Load(); got != 3 || len(r.names) != 0 {
		t.Errorf("it ran %d times, want 3; %v", got, r.names)
	}
}

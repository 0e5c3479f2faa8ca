package embedded_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
)

// A store that is closed in the middle of writes opens again, every time. Raft used to be asked to elect the member before it
// was through its log, and then sometimes ended the process.
func TestOpenAgainAndAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		s, err := embedded.Open(ctx, embedded.Options{Dir: dir})
		cancel()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		writing, stop := context.WithCancel(t.Context())
		enough := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; writing.Err() == nil; i++ {
					_, _ = s.Put(writing, fmt.Sprintf("/r/%d-%d-%d", round, w, i), []byte("x"), 0, store.PutOptions{})
					if w == 0 && i == 50+10*round { // not at a multiple of anything
						close(enough)
					}
				}
			})
		}
		<-enough
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		stop()
		wg.Wait()
	}
}

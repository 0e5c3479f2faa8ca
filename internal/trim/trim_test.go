package trim

import (
	"sort"
	"strings"
	"sync"
	"testing"
)

// The program goes on as before, also while other goroutines run the code that is unmapped.
func TestProgramGoesOn(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				words := strings.Fields("the quick brown fox jumps over the lazy dog")
				sort.Strings(words)
				if got := strings.Join(words, " "); got != "brown dog fox jumps lazy over quick the the" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	for range 20 {
		Program()
	}
	wg.Wait()
}

package verb_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/kayak-k8s/kayak/internal/store"
)

// crowded has every name taken, but for the last of a number of writes.
type crowded struct {
	store.Store
	taken, puts int
}

func (s *crowded) Put(ctx context.Context, key string, value []byte, expect int64, options store.PutOptions) (int64, error) {
	if s.puts++; s.puts <= s.taken {
		return 0, &store.Conflict{Key: key, Expect: expect}
	}
	return s.Store.Put(ctx, key, value, expect, options)
}

// A generated name that is taken is tried seven times more; then the client is told to try again (KEP-4420).
func TestGeneratedNameIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ taken, puts, code int }{
		{0, 1, http.StatusCreated}, {7, 8, http.StatusCreated}, {8, 8, http.StatusConflict},
	} {
		var s *crowded
		f := newFixture(t, func(below store.Store) store.Store {
			s = &crowded{Store: below}
			return s
		})
		s.puts, s.taken = 0, test.taken
		w := f.do(t, "POST", "/api/v1/namespaces/default/configmaps", "", `{"metadata":{"generateName":"a-"}}`)
		if w.Code != test.code || s.puts != test.puts {
			t.Errorf("%d names taken: %d tries, answer %d %s", test.taken, s.puts, w.Code, w.Body)
		}
		const text = `already exists, the server was not able to generate a unique name for the object"`
		if w.Code == http.StatusConflict && (!strings.Contains(w.Body.String(), text) || !strings.Contains(w.Body.String(), `"reason":"AlreadyExists"`)) {
			t.Errorf("answer %s", w.Body)
		}
	}
	var s *crowded
	f := newFixture(t, func(below store.Store) store.Store {
		s = &crowded{Store: below}
		return s
	})
	s.puts, s.taken = 0, 1
	if w := f.do(t, "POST", "/api/v1/namespaces/default/configmaps", "", `{"metadata":{"name":"a"}}`); w.Code != http.StatusConflict || s.puts != 1 {
		t.Errorf("a name of its own: %d tries, answer %d %s", s.puts, w.Code, w.Body)
	}
}

package embedded

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/kayak-k8s/kayak/internal/store"
)

// What is unmapped comes back, also while the database grows and is mapped anew.
func TestUnmap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	value := bytes.Repeat([]byte("x"), 500<<10)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 20 {
				if _, err := s.Put(t.Context(), fmt.Sprintf("/a/%d-%d", w, i), value, 0, store.PutOptions{}); err != nil {
					t.Error(err)
				}
				s.Unmap()
			}
		})
	}
	writers.Wait()
	s.server.Backend().ForceCommit()
	s.Unmap()
	if got := mapped(t, dir); got > 4<<20 {
		t.Errorf("%d bytes are still mapped", got)
	}
	page, err := s.Range(t.Context(), store.RangeOptions{Prefix: "/a/"})
	if err != nil || len(page.KVs) != 80 {
		t.Fatalf("%d keys, %v", len(page.KVs), err)
	}
	for _, kv := range page.KVs {
		if !bytes.Equal(kv.Value, value) {
			t.Errorf("%s is otherwise", kv.Key)
		}
	}
}

// mapped returns how much of the database in a directory is resident.
func mapped(t *testing.T, dir string) (bytes int) {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	here := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if strings.Contains(fields[0], "-") {
			here = strings.HasSuffix(lines.Text(), dir+"/member/snap/db")
		}
		if here && fields[0] == "Rss:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			bytes += n << 10
		}
	}
	return bytes
}

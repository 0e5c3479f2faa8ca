package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestProfiling(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(o *Options) { o.Profiling = true })
	for _, test := range []struct {
		path string
		code int
		body string
	}{
		{"/debug/pprof", http.StatusFound, ""},
		{"/debug/pprof/", http.StatusOK, "goroutine"},
		{"/debug/pprof/goroutine?debug=1", http.StatusOK, "TestProfiling"},
		{"/debug/pprof/nothing", http.StatusNotFound, "Unknown profile"},
	} {
		if w := get(s, test.path); w.Code != test.code || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%s: %d %.200s, want %d %s", test.path, w.Code, w.Body, test.code, test.body)
		}
	}
	if slices.ContainsFunc(s.Paths(), func(path string) bool { return strings.HasPrefix(path, "/debug") }) {
		t.Errorf("the index has %v", s.Paths())
	}
	if w := get(newServer(t, nil), "/debug/pprof/"); w.Code != http.StatusNotFound {
		t.Errorf("switched off, but code %d", w.Code)
	}
}

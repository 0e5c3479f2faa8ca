package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dir := filepath.Join(outer, "log")
	if err := os.MkdirAll(filepath.Join(dir, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"secret": "s3cret", "log/kayak.log": "line\n", "log/old/1.log": "older\n"} {
		if err := os.WriteFile(filepath.Join(outer, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(outer, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &Server{paths: paths{}}
	s.addLogs(root)
	for _, test := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/logs", 301, ""},
		{"GET", "/logs/", 200, `<a href="kayak.log">`},
		{"GET", "/logs/kayak.log", 200, "line\n"},
		{"GET", "/logs/old/1.log", 200, "older\n"},
		{"GET", "/logs/missing", 404, ""},
		{"GET", "/logs/link", 404, ""},
		{"GET", "/logs/../secret", 404, ""},
		{"GET", "/logs/old/../../secret", 404, ""},
		{"GET", "/logs/" + strings.Repeat("x", 5000), 404, ""},
		{"GET", "/logs/" + strings.Repeat("x", 300), 404, ""},
		{"POST", "/logs/kayak.log", 405, ""},
	} {
		r := httptest.NewRequest(test.method, "/", nil)
		r.URL.Path = test.path // as it arrives: nobody has cleaned it
		w := httptest.NewRecorder()
		handler := s.paths.find(test.path)
		if handler == nil {
			t.Fatalf("nothing serves %s", test.path)
		}
		handler.ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != test.code || !strings.Contains(body, test.body) || strings.Contains(body, "s3cret") {
			t.Errorf("%s %.40s: %d %q, want %d with %q", test.method, test.path, w.Code, body, test.code, test.body)
		}
		if w.Code == http.StatusOK && test.path == "/logs/" && strings.Contains(body, "..") {
			t.Errorf("the listing leads out: %s", body)
		}
	}
}

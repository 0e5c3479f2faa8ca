package kayaktest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// addSettings adds settings of the form key=value, or key, which means true.
func addSettings(to map[string]string, settings []string) map[string]string {
	if to == nil {
		to = map[string]string{}
	}
	for _, setting := range settings {
		key, value, given := strings.Cut(setting, "=")
		if !given {
			value = "true"
		}
		to[key] = value
	}
	return to
}

// testLog is a writer to the log of a test, line by line, for as long as the test runs.
type testLog struct {
	t  testing.TB
	mu sync.Mutex
	// over says that the test may have ended, after which its log must not be used.
	over bool
}

func newTestLog(t testing.TB) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() { // before the server's own cleanup was registered, so after it ran
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = true
	})
	return l
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.t.Log(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

// logRequests puts a line about every request into the test's log.
func logRequests(t testing.TB, next http.Handler) http.Handler {
	l := newTestLog(t)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &recorder{ResponseWriter: w}
		who := "nobody"
		if u, ok := genericrequest.UserFrom(r.Context()); ok {
			who = u.GetName()
		}
		completed := false
		defer func() {
			answer := "broken off"
			if completed {
				answer = http.StatusText(seen.status())
			}
			line := strings.Join([]string{
				r.Method, r.URL.RequestURI(), "by", who + ":", answer, "in", time.Since(began).Round(time.Microsecond).String(),
			}, " ")
			_, _ = l.Write([]byte(line))
		}()
		next.ServeHTTP(seen, r)
		completed = true
	})
}

// recorder remembers the code of an answer.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/warning"
	"pgregory.net/rapid"

	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/openapi"
)

// newServer returns a server without kinds. Requests say who makes them in a header.
func newServer(t testing.TB, change func(*Options)) *Server {
	t.Helper()
	table := kind.NewTable()
	documents, specifications := discovery.New(table, discovery.Options{}), openapi.New(table)
	options := Options{
		Kinds:     table,
		Discovery: func() *discovery.Handler { return documents }, OpenAPI: func() *openapi.Handler { return specifications },
		Authenticate: func(r *http.Request) (user.Info, error) {
			name, groups, _ := strings.Cut(r.Header.Get("Test-User"), " ")
			return &user.DefaultInfo{Name: name, Groups: strings.Fields(groups)}, nil
		},
		Authorizer: authz.New(), Metrics: NewMetrics(), RequestTimeout: time.Minute, Stopping: make(chan struct{}),
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&options)
	}
	return New(options)
}

// get answers a GET by a member of system:masters.
func get(s *Server, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Test-User", "admin system:masters")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestHealth(t *testing.T) {
	t.Parallel()
	broken := errors.New("a secret reason")
	s := newServer(t, func(o *Options) {
		o.Checks = []Check{
			{Name: "etcd", Run: func(context.Context) error { return nil }},
			{Name: "sync", ReadyOnly: true, Run: func(context.Context) error { return broken }},
		}
	})
	for _, test := range []struct {
		path string
		code int
		body string
	}{
		{"/livez", 200, "ok"},
		{"/healthz", 200, "ok"},
		{"/healthz/etcd", 200, "ok"},
		{"/livez?verbose", 200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n"},
		{"/livez?verbose&exclude=etcd", 200, "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n"},
		{"/livez?verbose&exclude=x", 200, "[+]ping ok\n[+]etcd ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n"},
		{"/readyz", 500, "[+]ping ok\n[+]etcd ok\n[-]sync failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n"},
		{"/readyz?exclude=sync", 200, "ok"},
		{"/readyz/sync", 500, "internal server error: a secret reason\n"},
		{"/livez/sync", 404, "404 page not found\n"},
	} {
		w := get(s, test.path)
		if w.Code != test.code || w.Body.String() != test.body {
			t.Errorf("%s: %d %q, want %d %q", test.path, w.Code, w.Body.String(), test.code, test.body)
		}
	}
}

func TestReadinessFallsWhenStopping(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	if w := get(s, "/readyz"); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := get(s, "/readyz"); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "[-]shutdown failed") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// A request whose handling panics is answered, and the server goes on.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.pipeline = []stage{{"verb", func(*exchange) error { panic("on purpose") }}}
	w := get(s, "/")
	const want = "This request caused apiserver to panic. Look in the logs for details.\n"
	if w.Code != http.StatusInternalServerError || w.Body.String() != want {
		t.Fatalf("%d %q", w.Code, w.Body)
	}
}

// When part of an answer is out already, the connection is broken off: a client must not take the part for the whole.
func TestFailureInTheMiddleOfAnAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.pipeline = []stage{{"verb", func(x *exchange) error {
		_, _ = io.WriteString(x.w, "half of")
		return errors.New("on purpose")
	}}}
	defer func() {
		if cause := recover(); cause != http.ErrAbortHandler {
			t.Errorf("the handler ended with %v", cause)
		}
	}()
	get(s, "/")
}

func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(o *Options) { o.MaxReadOnly = 1 })
	inside, leave := make(chan struct{}), make(chan struct{})
	s.pipeline = append(s.stages()[:5], stage{"verb", func(x *exchange) error {
		if x.r.Header.Get("Block") != "" {
			close(inside)
			<-leave
		}
		return plainError{http.StatusOK, "served"}
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(s, "/", "Block", "yes", "Test-User", "somebody")
	}()
	<-inside
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Test-User", "somebody")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one request too many: %d, %v", w.Code, w.Header())
	}
	if w := get(s, "/"); w.Code != http.StatusOK {
		t.Errorf("an administrator: %d", w.Code)
	}
	close(leave)
	<-done
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r.Clone(t.Context()))
	if w.Code != http.StatusOK {
		t.Errorf("after the first had ended: %d", w.Code)
	}
}

// Warnings become the headers that upstream makes of them, cut short in the same way when they are too many.
func TestWarningsAsUpstream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"", "a", "deprecated", "with \"quotes\"", "ünïcödé", "control\x00character", "\xff"}),
			rapid.Map(rapid.OneOf(rapid.IntRange(1, 2000), rapid.IntRange(815, 820)), func(n int) string { return strings.Repeat("wörd ", n) }),
		), 0, 12).Draw(t, "texts")
		warn := func(ctx context.Context) {
			for _, text := range texts {
				warning.AddWarning(ctx, "", text)
			}
		}
		want := httptest.NewRecorder()
		filters.WithWarningRecorder(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { warn(r.Context()) })).
			ServeHTTP(want, httptest.NewRequest(http.MethodGet, "/", nil))
		got := httptest.NewRecorder()
		warn(warning.WithWarningRecorder(context.Background(), &response{ResponseWriter: got}))
		if diff := cmp.Diff(want.Header()["Warning"], got.Header()["Warning"]); diff != "" {
			t.Fatalf("(-upstream +ours):\n%s", diff)
		}
	})
}

// Whatever clients send, metrics have a bounded number of series.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	count := func() int {
		families, err := s.options.Metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, family := range families {
			n += len(family.Metric)
		}
		return n
	}
	send := func(i int) {
		path := "/apis/" + strings.Repeat("g", i%50+1) + "/v1/" + strings.Repeat("r", i%70+1) + "/x/" + strings.Repeat("s", i%30+1)
		r := httptest.NewRequest([]string{"GET", "BREW", "X" + strings.Repeat("Y", i)}[i%3], path, nil)
		r.Header.Set("Test-User", "admin system:masters")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	for i := range 10 {
		send(i)
	}
	before := count()
	for i := range 500 {
		send(i)
	}
	if after := count(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

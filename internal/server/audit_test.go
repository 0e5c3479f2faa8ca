package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kayak-k8s/kayak/internal/audit"
)

// audited returns a server that tells of everything, and what it has told.
func audited(t *testing.T, change func(*Options)) (*Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	auditor, err := audit.Open(audit.Config{
		Policy: &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}},
		Log:    audit.Log{Writer: &log},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return newServer(t, func(o *Options) {
		o.Audit = auditor
		if change != nil {
			change(o)
		}
	}), &log
}

// told is what has been told: stages, codes and messages.
func told(t *testing.T, log *bytes.Buffer) string {
	t.Helper()
	var b strings.Builder
	for line := range bytes.Lines(log.Bytes()) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(event.Stage))
		if status := event.ResponseStatus; status != nil {
			fmt.Fprintf(&b, "(%d %s)", status.Code, status.Message)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

func TestAuditStages(t *testing.T) {
	t.Parallel()
	tag := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // as a middleware may
		})
	}
	for _, test := range []struct {
		name, path string
		change     func(*Options)
		verb       func(*exchange) error
		want       string
	}{
		{name: "a path", path: "/livez", want: "RequestReceived ResponseComplete(200 )"},
		{name: "a middleware", path: "/livez", change: func(o *Options) { o.Middleware = tag }, want: "RequestReceived ResponseComplete(200 )"},
		{name: "an error", path: "/api/v1/nothings", want: "RequestReceived ResponseComplete(404 the server could not find the requested resource)"},
		{name: "a panic", path: "/", verb: func(*exchange) error { panic("on purpose") }, want: "RequestReceived Panic(500 APIServer panic'd: on purpose)"},
		{name: "an answer broken off", path: "/", verb: func(x *exchange) error {
			_, _ = x.w.Write([]byte("half"))
			return errors.New("on purpose")
		}, want: "RequestReceived Panic(500 APIServer panic'd: net/http: abort Handler)"},
		{name: "an announcement", path: "/", verb: func(x *exchange) error {
			x.w.WriteHeader(http.StatusEarlyHints)
			return plainError{http.StatusTeapot, "tea"}
		}, want: "RequestReceived ResponseComplete(418 )"},
		{name: "a bad timeout", path: "/api?timeout=x", want: `ResponseStarted(400 invalid timeout specified in the request URL - time: invalid duration "x")`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, log := audited(t, test.change)
			if test.verb != nil {
				s.pipeline[len(s.pipeline)-1].run = test.verb
			}
			func() {
				defer func() { _ = recover() }()
				get(s, test.path)
			}()
			if got := told(t, log); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// Who cannot be told of is not served, where that matters.
func TestAuditStrict(t *testing.T) {
	t.Parallel()
	auditor, err := audit.Open(audit.Config{
		Policy: &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}},
		Log:    audit.Log{Writer: full{}, Mode: audit.ModeBlockingStrict},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := get(newServer(t, func(o *Options) { o.Audit = auditor }), "/livez")
	const want = `Internal Server Error: "/livez": failed to store audit event` + "\n"
	if w.Code != http.StatusInternalServerError || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
}

// full is a disk with no space left.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A client's id is given back as it is, however long.
func TestAuditID(t *testing.T) {
	t.Parallel()
	s, log := audited(t, nil)
	id := strings.Repeat("x", 100)
	if got := get(s, "/livez", "Audit-ID", id).Header().Get("Audit-Id"); got != id {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(log.String(), `"auditID":"`+id+`"`) {
		t.Errorf("told %s", log)
	}
	if got := get(s, "/livez").Header().Get("Audit-Id"); len(got) != 36 {
		t.Errorf("made %s", got)
	}
}

// A server that does not audit has nothing to do for it.
func TestNoAuditCostsNothing(t *testing.T) {
	s := newServer(t, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{r: r, w: &response{}}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.audit(x); err != nil {
			t.Error(err)
		}
		if err := s.auditRefused(x, ""); err != nil {
			t.Error(err)
		}
	}); n > 0 || x.r != r || x.event != nil || len(x.release) > 0 {
		t.Errorf("%v allocations, %+v", n, x)
	}
}

// BenchmarkAudit is a request without auditing, with a policy that wants nothing of it, and with one that wants its metadata.
func BenchmarkAudit(b *testing.B) {
	for _, level := range []auditv1.Level{"", auditv1.LevelNone, auditv1.LevelMetadata} {
		b.Run(cmp.Or(string(level), "off"), func(b *testing.B) {
			s := newServer(b, nil)
			if level != "" {
				auditor, err := audit.Open(audit.Config{
					Policy: &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: level}}}, Log: audit.Log{Writer: io.Discard},
				}, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				s = newServer(b, func(o *Options) { o.Audit = auditor })
			}
			b.ReportAllocs()
			for b.Loop() {
				get(s, "/livez")
			}
		})
	}
}

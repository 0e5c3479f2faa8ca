package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// everything is a policy that wants to know of everything.
func everything(level auditv1.Level) *auditv1.Policy {
	return &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: level}}}
}

func open(t *testing.T, config Config) *Auditor {
	t.Helper()
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	a, err := Open(config, slog.New(slog.DiscardHandler))
	if err != nil || a == nil {
		t.Fatal(a, err)
	}
	return a
}

// received is a request for a Pod that has come as far as its user.
func received(t *testing.T, a *Auditor, verb string, long bool) (*Event, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/a/pods/b", nil)
	r = r.WithContext(Context(r.Context(), "id"))
	return a.Received(r, time.Now(), &authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "jane"}, Verb: verb, ResourceRequest: true, APIVersion: "v1", Resource: "pods", Namespace: "a", Name: "b",
	}, long)
}

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) events(t *testing.T) []auditv1.Event {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var events []auditv1.Event
	for line := range bytes.Lines(l.b.Bytes()) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

func stages(events []auditv1.Event) string {
	var b strings.Builder
	for _, event := range events {
		fmt.Fprintf(&b, "%s ", event.Stage)
		if event.ResponseStatus != nil {
			fmt.Fprintf(&b, "%d ", event.ResponseStatus.Code)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestStages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		long bool
		do   func(*Event)
		want string
	}{
		{"answered", false, func(e *Event) { e.Answering(201); e.Answering(500); e.Done() }, "RequestReceived ResponseComplete 201"},
		{"long", true, func(e *Event) { e.Answering(200); e.Done() }, "RequestReceived ResponseStarted 200 ResponseComplete 200"},
		{"gone", false, func(e *Event) { e.Done() }, "RequestReceived ResponseComplete 200"},
		{"gone early", true, func(e *Event) { e.Done() }, "RequestReceived ResponseStarted 200 ResponseComplete 200"},
		{"panic", false, func(e *Event) { e.Panicked("reason") }, "RequestReceived Panic 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log locked
			a := open(t, Config{Policy: everything(auditv1.LevelMetadata), Log: Log{Writer: &log}})
			e, err := received(t, a, "get", test.long)
			if err != nil {
				t.Fatal(err)
			}
			test.do(e)
			if err := a.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := stages(log.events(t)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// Who is refused before the user is known is told of when that is answered, and only then.
func TestRefused(t *testing.T) {
	t.Parallel()
	var log locked
	a := open(t, Config{Policy: everything(auditv1.LevelMetadata), Log: Log{Writer: &log}})
	r := httptest.NewRequest(http.MethodGet, "/api", nil)
	r = r.WithContext(Context(r.Context(), "id"))
	e, err := a.Refused(r, time.Now(), &authorizer.AttributesRecord{Verb: "get", Path: "/api"}, Attempted(r))
	if err != nil {
		t.Fatal(err)
	}
	e.Answering(401)
	e.Done()
	events := log.events(t)
	if stages(events) != "ResponseStarted 401" || events[0].ResponseStatus.Message != "Authentication failed, no credentials provided" {
		t.Errorf("got %+v", events)
	}
}

// A request that is not told of has no event, and an event that is nil takes everything that it is told.
func TestNothing(t *testing.T) {
	t.Parallel()
	a := open(t, Config{Policy: everything(auditv1.LevelNone), Log: Log{Writer: &locked{}}})
	e, err := received(t, a, "get", false)
	if e != nil || err != nil {
		t.Fatal(e, err)
	}
	e.Answering(200)
	e.Request(nil, auditv1.SchemeGroupVersion, auditv1.SchemeGroupVersion.WithResource("a"), "", nil)
	e.Patch(nil)
	e.Status(&metav1.Status{})
	e.Response(nil)
	e.Annotate(map[string]string{"a": "b"})
	e.Panicked("reason")
	e.Done()
}

// Only what the level has is made.
func TestLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[auditv1.Level]string{
		auditv1.LevelMetadata: "", auditv1.LevelRequest: "request", auditv1.LevelRequestResponse: "request response",
	} {
		var log locked
		a := open(t, Config{Policy: everything(level), Log: Log{Writer: &log}})
		e, err := received(t, a, "update", false)
		if err != nil {
			t.Fatal(err)
		}
		var made []string
		make := func(what string) func() ([]byte, error) {
			return func() ([]byte, error) { made = append(made, what); return []byte(`{}`), nil }
		}
		e.Patch(make("request"))
		e.Response(make("response"))
		e.Done()
		if got := strings.Join(made, " "); got != want {
			t.Errorf("%s: made %q, want %q", level, got, want)
		}
		last := log.events(t)[1]
		if (last.RequestObject != nil) != strings.Contains(want, "request") || (last.ResponseObject != nil) != strings.Contains(want, "response") {
			t.Errorf("%s: %+v", level, last)
		}
	}
}

// broken cannot be written to.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("on purpose") }

// What cannot be written does not matter, unless it has to.
func TestStrict(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]error{ModeBlocking: nil, ModeBlockingStrict: ErrNotStored} {
		a := open(t, Config{Policy: everything(auditv1.LevelMetadata), Log: Log{Writer: broken{}, Mode: mode}})
		if _, err := received(t, a, "get", false); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", mode, err, want)
		}
	}
}

// Close delivers what has been gathered, to the file and to the webhook.
func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	var sent locked
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		for _, event := range list.Items {
			line, _ := json.Marshal(event)
			_, _ = sent.Write(append(line, '\n'))
		}
	}))
	t.Cleanup(webhook.Close)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	config := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: '" + webhook.URL + "'}}]\n" +
		"contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a}]\n"
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "logs", "audit.log")
	a := open(t, Config{
		Policy: everything(auditv1.LevelMetadata), Log: Log{Path: log, Mode: ModeBatch}, Webhook: Webhook{ConfigFile: kubeconfig},
	})
	const requests = 50
	for range requests {
		e, err := received(t, a, "get", false)
		if err != nil {
			t.Fatal(err)
		}
		e.Answering(200)
		e.Done()
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var written locked
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = written.Write(text)
	for name, events := range map[string][]auditv1.Event{"file": written.events(t), "webhook": sent.events(t)} {
		if len(events) != 2*requests {
			t.Errorf("the %s has %d events, want %d", name, len(events), 2*requests)
		}
	}
}

// An event that is too large loses its objects.
func TestTruncate(t *testing.T) {
	t.Parallel()
	var log locked
	a := open(t, Config{Policy: everything(auditv1.LevelRequest), Log: Log{
		Writer: &log, Truncate: &Truncate{MaxEventSize: 2000, MaxBatchSize: 10000},
	}})
	e, err := received(t, a, "patch", false)
	if err != nil {
		t.Fatal(err)
	}
	e.Patch(func() ([]byte, error) { return []byte(`"` + strings.Repeat("x", 3000) + `"`), nil })
	e.Done()
	last := log.events(t)[1]
	if last.RequestObject != nil || last.Annotations["audit.k8s.io/truncated"] != "true" {
		t.Errorf("%+v", last)
	}
}

// A request that another one makes within the process has an event of its own.
func TestContextInAContext(t *testing.T) {
	t.Parallel()
	outer := Context(context.Background(), "outer")
	inner := Context(outer, "inner")
	for id, ctx := range map[string]context.Context{"outer": outer, "inner": inner} {
		if got, _ := audit.AuditIDFrom(ctx); string(got) != id {
			t.Errorf("the id is %q, want %q", got, id)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{Log: Log{Format: "xml"}}, ""}, // which is not there
		{Config{Log: Log{Path: "a", Format: "xml"}}, `invalid audit log format xml, allowed formats are "legacy,json"`},
		{Config{Log: Log{Path: "a", MaxAge: -1}}, "--audit-log-maxage -1 can't be a negative number"},
		{Config{Log: Log{Path: "a", Version: "audit.k8s.io/v1beta1"}}, `invalid group version, allowed versions are ["audit.k8s.io/v1"]`},
		{Config{Log: Log{Path: "a", Truncate: &Truncate{MaxEventSize: 2, MaxBatchSize: 1}}}, "invalid audit truncate log max batch size 1, must be greater than max event size (2)"},
		{Config{Webhook: Webhook{ConfigFile: "a", Mode: "slow"}}, `invalid audit webhook mode slow, allowed modes are "batch,blocking,blocking-strict"`},
		{Config{Webhook: Webhook{ConfigFile: "a", Batch: &Batch{BufferSize: 1}}}, "invalid audit batch webhook max batch size 0, must be a positive number"},
		{Config{Webhook: Webhook{ConfigFile: "a", Mode: ModeBlocking, Batch: &Batch{}}}, ""},
	} {
		err := test.config.Check()
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%+v: %v, want %s", test.config, err, test.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{PolicyFile: "missing", Log: Log{Writer: &locked{}}}, `loading audit policy file: failed to read file path "missing"`},
		{Config{Policy: everything("All"), Log: Log{Writer: &locked{}}}, `rules[0].level: Unsupported value: "All"`},
		{Config{Policy: everything(auditv1.LevelMetadata), Log: Log{Path: "/dev/null/a"}}, "cannot open the audit log"},
		{Config{Policy: everything(auditv1.LevelMetadata), Webhook: Webhook{ConfigFile: "missing"}}, "initializing audit webhook"},
	} {
		a, err := Open(test.config, slog.New(slog.DiscardHandler))
		if a != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
	if a, err := Open(Config{Policy: everything(auditv1.LevelMetadata)}, slog.New(slog.DiscardHandler)); a != nil || err != nil {
		t.Error("without a backend: ", a, err)
	}
}

package kayaktest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
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

// requestLog is a logger's handler that puts a line about every request into the test's log. It finds them in what the server has to
// say when it is at its most talkative; all that is said besides is handed on.
type requestLog struct {
	slog.Handler
	lines *testLog
}

// withRequests returns a logger that hands on to another one, nil for none.
func withRequests(t testing.TB, logger *slog.Logger) *slog.Logger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return slog.New(requestLog{logger.Handler(), newTestLog(t)})
}

// requestMessage is what the server says of a request that is over.
const requestMessage = "HTTP"

func (l requestLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level == slog.LevelDebug || l.Handler.Enabled(ctx, level)
}

func (l requestLog) Handle(ctx context.Context, record slog.Record) error {
	if record.Message == requestMessage && record.Level == slog.LevelDebug {
		_, _ = l.lines.Write([]byte(requestLine(record)))
	}
	if !l.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, record)
}

func (l requestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestLog{l.Handler.WithAttrs(attrs), l.lines}
}

func (l requestLog) WithGroup(name string) slog.Handler {
	return requestLog{l.Handler.WithGroup(name), l.lines}
}

// requestLine tells of a request in words: what, by whom, the answer and how long it took.
func requestLine(record slog.Record) string {
	seen := map[string]slog.Value{}
	record.Attrs(func(a slog.Attr) bool {
		seen[a.Key] = a.Value
		return true
	})
	who, answer := seen["user"].String(), "broken off"
	if who == "" {
		who = "nobody"
	}
	if code := int(seen["resp"].Int64()); code != 0 {
		answer = fmt.Sprint(code, " ", http.StatusText(code))
	}
	return fmt.Sprintf("%s %s by %s: %s in %s", seen["verb"], seen["URI"], who, answer, seen["latency"].Duration().Round(time.Microsecond))
}

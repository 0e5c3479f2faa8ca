package main

import (
	"context"
	"encoding/xml"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// Every scenario runs, hands over what the table has rows for, and gets the bytes that it asks for.
func TestScenarios(t *testing.T) {
	t.Parallel()
	// What can only be measured on a process that was started for it, or is left out of a quick run.
	missing := map[string]bool{"cold-start": true, "restart": true, "stop": true, "create-small-pod-64": true, "fan-out-100": true, "fan-out-5000": true}
	c := config{objects: 300, watchers: 60, rounds: 1, quick: true}
	r := &report{config: c}
	b := newTestBench(t, c, r)
	for _, s := range scenarios() {
		if err := s.run(t.Context(), b); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	table := r.markdown([]side{{name: "kayak"}})
	for _, row := range rows() {
		if !missing[row.id] && !strings.HasSuffix(row.id, "0000") && !strings.Contains(table, "| "+row.title+" |") {
			t.Errorf("no row %s", row.id)
		}
	}
	for _, id := range []string{"list-json", "watch-list"} {
		if size, _ := r.median(id, "kayak", func(s sample) float64 { return s.BytesPerOp }); size < 300*5<<10 {
			t.Errorf("%s of 300 pods got %.0f bytes", id, size)
		}
	}
}

func newTestBench(t *testing.T, c config, r *report) *bench {
	t.Helper()
	k, err := kayak.New(kayak.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop(context.Background()) })
	b, err := newBench(c, &server{config: k.RESTConfig(), processes: processes{os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	b.done = func(id string, s sample) { r.add(id, "kayak", 0, s) }
	return b
}

// The large run lists half of what it stores, and tells so in the names of what it measures.
func TestLarge(t *testing.T) {
	t.Parallel()
	r := &report{}
	if err := large(t.Context(), newTestBench(t, config{objects: 100, watchers: 10}, r)); err != nil {
		t.Fatal(err)
	}
	bytes := func(s sample) float64 { return s.BytesPerOp }
	if size, _ := r.median("list-json-50", "kayak", bytes); size < 50*5<<10 || size > 50*10<<10 {
		t.Errorf("a list of 50 pods got %.0f bytes", size)
	}
	for _, id := range []string{"memory-per-pod-10", "memory-per-pod-50", "memory-per-pod-100", "watch-list-50", "peak-table-50"} {
		if _, ok := r.median(id, "kayak", memory); !ok {
			t.Errorf("no %s", id)
		}
	}
}

// A scenario that fails is told of, and takes nothing away from the others; but without load there is nothing to measure.
func TestFailure(t *testing.T) {
	t.Parallel()
	ran := ""
	step := func(name string, err error) scenario {
		return scenario{name: name, run: func(_ context.Context, b *bench) error {
			ran += name + " "
			b.done(name, sample{Ops: 1, ServerCPU: 1})
			return err
		}}
	}
	r := &report{config: config{rounds: 1}}
	s := side{"x", func(context.Context, string) (*server, error) {
		return &server{config: &rest.Config{Host: "https://127.0.0.1:1"}}, nil
	}}
	broken := errors.New("broken")
	r.runSide(t.Context(), s, 0, []scenario{step("get", broken), step("list", nil), step("load", broken), step("writes", nil)})
	if ran != "get list load " || len(r.Failures) != 2 || len(r.Samples) != 3 {
		t.Errorf("ran %s, failures %v, samples %v", ran, r.Failures, r.Samples)
	}
	if err := r.failed(); err == nil || !strings.Contains(err.Error(), "x, get, round 1: broken") {
		t.Errorf("%v", err)
	}
	if text := r.markdown([]side{s}); !strings.Contains(text, "## What failed\n\n- x, get, round 1: broken") {
		t.Error(text)
	}
	r.runSide(t.Context(), side{"y", func(context.Context, string) (*server, error) { return nil, broken }}, 0, nil)
	if len(r.Failures) != 3 {
		t.Errorf("a side that does not start: %v", r.Failures)
	}
}

// Work ends when there is enough of it.
func TestEnough(t *testing.T) {
	t.Parallel()
	op := func(context.Context, int) (int64, error) { return 1, nil }
	for _, test := range []struct {
		w    work
		want int
	}{
		{work{ops: 10, parallel: 3, op: op}, 10},
		{work{ops: math.MaxInt, least: 7, within: time.Nanosecond, op: op}, 7},
		{work{ops: 5, within: time.Hour, op: op}, 5},
	} {
		took, size, err := test.w.do(t.Context())
		if err != nil || len(took) != test.want || size != int64(test.want) {
			t.Errorf("%d operations, %d bytes, %v; want %d", len(took), size, err, test.want)
		}
	}
}

// What one run has written another reports with its own.
func TestWith(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "old.json")
	old := &report{record: record{Objects: 7, Rounds: 2, Profiles: []profiled{{ID: "list-json", Side: "a", Parts: map[string]float64{storage: 0.5}}}}}
	old.add("list-json", "a", 0, sample{Ops: 1, ServerCPU: 30})
	if err := old.writeJSON(file); err != nil {
		t.Fatal(err)
	}
	r, err := newReport(config{with: file})
	if err != nil {
		t.Fatal(err)
	}
	if r.Objects != 7 || r.Rounds != 2 {
		t.Errorf("%d objects, %d rounds", r.Objects, r.Rounds)
	}
	if r, err := newReport(config{with: file, rounds: 1, objects: 9}); err != nil || r.Objects != 9 || len(r.Samples) != 1 {
		t.Errorf("%+v %v", r, err)
	}
	r.Profiles = append(r.Profiles, profiled{ID: "get-pod", Side: "a", Parts: map[string]float64{storage: 0.25}})
	if text := r.profileTables([]side{{name: "a"}}); !strings.Contains(text, "| all | 30 µs | 100 % |") || !strings.Contains(text, "| "+storage+" | 15 µs | 25 % |") {
		t.Error(text)
	}
}

// What is said is done, whatever --quick or --large stand for.
func TestFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args            string
		rounds, objects int
	}{
		{"", 3, 10_000}, {"--quick", 1, 2000}, {"--quick --objects 5", 1, 5}, {"--large", 1, 100_000}, {"--large --rounds 2", 2, 100_000},
	} {
		if c, err := parse(strings.Fields(test.args)); err != nil || c.rounds != test.rounds || c.objects != test.objects {
			t.Errorf("%s: %+v %v", test.args, c, err)
		}
	}
}

// A stack belongs to what it works for.
func TestCategories(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ stack, want string }{ // the innermost function first
		{"runtime.scanobject runtime.gcDrain runtime.gcBgMarkWorker", "garbage collection"},
		{"runtime.mallocgc encoding/json.(*decodeState).object k8s.io/apiserver/pkg/endpoints/handlers.createHandler net/http.HandlerFunc.ServeHTTP", "decoding and encoding"},
		{"internal/runtime/syscall.Syscall6 internal/poll.(*FD).Write net.(*conn).Write crypto/tls.(*Conn).Write golang.org/x/net/http2.(*Framer).endWrite", "network, TLS"},
		{"internal/runtime/syscall.Syscall6 net.(*conn).Write google.golang.org/grpc/internal/transport.(*loopyWriter).run", storage},
		{"encoding/json.Marshal sigs.k8s.io/structured-merge-diff/v6/typed.TypedValue.Compare k8s.io/apiserver/pkg/storage/etcd3.(*store).GuaranteedUpdate", "managedFields, merging what is applied"},
		{"k8s.io/api/core/v1.(*PodSpec).MarshalToSizedBuffer k8s.io/apiserver/pkg/storage/etcd3.(*store).Create", "decoding and encoding"},
		{"k8s.io/kubernetes/pkg/apis/core/v1.SetDefaults_Pod k8s.io/kubernetes/pkg/registry/core/pod.podStrategy.X", "conversion, defaults, patches, copies"},
		{"k8s.io/kubernetes/pkg/apis/core/validation.ValidatePod k8s.io/kubernetes/pkg/registry/core/pod.podStrategy.Validate", "validation, CEL"},
		{"runtime.memmove github.com/kayak-k8s/kayak/internal/state.(*Tree).Ascend github.com/kayak-k8s/kayak/internal/verb.(*Verbs).list", "watch cache, lists, events"},
		{"k8s.io/apiserver/pkg/storage/cacher.(*Cacher).dispatchEvent", "watch cache, lists, events"},
		{"golang.org/x/net/http2.(*serverConn).serve net/http.HandlerFunc.ServeHTTP", "HTTP"},
		{"syscall.Write github.com/kayak-k8s/kayak/internal/h2.(*socket).try github.com/kayak-k8s/kayak/internal/h2.(*conn).flush", "network, TLS"},
		{"runtime.memmove github.com/kayak-k8s/kayak/internal/h2.(*conn).write github.com/kayak-k8s/kayak/internal/verb.(*watcher).serve", "HTTP"},
		{"runtime.findRunnable runtime.schedule runtime.park_m runtime.mcall", elsewhere},
	} {
		if got := titleOf(categories(), map[string]place{}, strings.Fields(test.stack)); got != test.want {
			t.Errorf("%s: %s, want %s", test.stack, got, test.want)
		}
	}
}

func TestMissed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target      string
		value, part float64
		want        bool
	}{
		{"1/4", 9, 0.3, true}, {"1/4", 9, 0.2, false}, {"4 times", 9, 0.3, true}, {"5 ms", 5001, 0.1, true}, {"5 ms", 4999, 0.9, false},
		{"300 KB", 301 << 10, 0.1, true}, {"10 s", 9e6, 0.1, false}, {"not worse", 9, 0.9, false}, {"", 9, 9, false},
	} {
		if got := missed(test.target, test.value, test.part); got != test.want {
			t.Errorf("%s, %g, %g: %v", test.target, test.value, test.part, got)
		}
	}
}

func TestMicrosText(t *testing.T) {
	t.Parallel()
	for micros, want := range map[float64]string{3.456: "3.46 µs", 999.6: "1 ms", 1500: "1.5 ms", 999_600: "1.00 s"} {
		if got := microsText(micros); got != want {
			t.Errorf("%g: %s, want %s", micros, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   string
	}{
		{[]float64{1, 12}, "1/12.0"}, {[]float64{3, 2}, "1.5 times"}, {[]float64{1}, ""}, {[]float64{-1, 2}, ""},
	} {
		if got := ratio(test.values); got != test.want {
			t.Errorf("%v: %s, want %s", test.values, got, test.want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	r := &report{}
	for i, v := range []float64{5, 1, 3, 9} {
		r.add("x", "a", i, sample{Memory: v})
	}
	r.add("x", "b", 0, sample{Memory: 100})
	if got, ok := r.median("x", "a", memory); !ok || got != 4 {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := r.median("y", "a", memory); ok {
		t.Error("a median of nothing")
	}
}

// The document keeps what was written by hand, and says what is lost.
func TestDocument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &report{}
	for side, cpu := range map[string]float64{"kayak": 30, "other": 60} {
		r.add("list-json", side, 0, sample{Ops: 1, ServerCPU: cpu})
		r.add("create-small-pod-64", side, 0, sample{Ops: 1, PerSecond: 1e5 / cpu})
		r.add("idle-cpu", side, 0, sample{Ops: 1, ServerCPU: 1 / cpu})
	}
	sides := []side{{name: "kayak"}, {name: "other"}}
	path := filepath.Join(dir, "benchmarks.md")
	if err := os.WriteFile(path, []byte("old\n"+notesMark+"why it is so\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.writeDocument(dir, sides); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| LIST of all pods, JSON: server CPU | 30 µs | 60 µs | 1/2.0 | 1/12 |", "- LIST of all pods, JSON: server CPU: 30 µs beside 60 µs",
		"- one second of doing nothing: server CPU: 0.0333 µs beside 0.0167 µs", "why it is so\n",
		"- create of a 3 KB pod, 64 at a time: per second: 3333 beside 1667, where the target is 4 times",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Error("what was there before is still there")
	}
	plot, err := os.ReadFile(filepath.Join(dir, "benchmarks.svg"))
	if err != nil || xml.Unmarshal(plot, new(struct{})) != nil || strings.Count(string(plot), "<rect") != 4 {
		t.Errorf("the plot is wrong: %v\n%s", err, plot)
	}
}

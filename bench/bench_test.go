package main

import (
	"context"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kayak-k8s/kayak"
)

// Every scenario runs, hands over what the table has rows for, and gets the bytes that it asks for.
func TestScenarios(t *testing.T) {
	t.Parallel()
	k, err := kayak.New(kayak.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop(context.Background()) })

	// What can only be measured on a process that was started for it, or is left out of a quick run.
	needsProcess := map[string]bool{"cold-start": true, "restart": true, "stop": true, "create-small-pod-64": true, "fan-out-100": true, "fan-out-5000": true}
	c := config{objects: 300, watchers: 60, rounds: 1, quick: true}
	r := &report{config: c}
	b, err := newBench(c, &server{config: k.RESTConfig(), processes: processes{os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	b.done = func(id string, s sample) { r.add(id, "kayak", 0, s) }
	for _, s := range scenarios() {
		if err := s.run(t.Context(), b); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	table := r.markdown([]side{{name: "kayak"}})
	for _, row := range rows() {
		if !needsProcess[row.id] && !strings.Contains(table, "| "+row.title+" |") {
			t.Errorf("no row %s", row.id)
		}
	}
	for _, id := range []string{"list-json", "watch-list"} {
		if size, _ := r.median(id, "kayak", func(s sample) float64 { return s.BytesPerOp }); size < 300*5<<10 {
			t.Errorf("%s of 300 pods got %.0f bytes", id, size)
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

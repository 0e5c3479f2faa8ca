package main

import (
	"context"
	"os"
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
	needsProcess := map[string]bool{"cold-start": true, "restart": true, "stop": true, "create-small-pod-64": true}
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

// Command bench measures Kubernetes API servers side by side: it gives each the same work and tells what the work cost the
// server. See README.md for how to run it and for what the figures mean.
//
//	main.go      flags, rounds, sides in alternation
//	side.go      starting and stopping servers;  certs.go: what kube-apiserver needs for that
//	process.go   CPU time and memory of processes
//	client.go    a client that reads and throws away
//	measure.go   what one measurement is, and how it is taken
//	load.go list.go watch.go memory.go write.go churn.go restart.go custom.go documents.go stalled.go     the scenarios, a file for each family
//	report.go    medians and ratios, as Markdown and JSON;  document.go: a page with a plot
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// config is what the flags say.
type config struct {
	kayak, apiserver, etcd string // binaries
	kubeconfig             string // of a server that runs already
	pids                   string // of its processes
	scenarios              string
	objects, watchers      int
	rounds                 int
	quick                  bool
	settle                 time.Duration
	jsonOut, markdownOut   string
	documentDir            string
	keepLogs               string
}

func main() {
	var c config
	flag.StringVar(&c.kayak, "kayak", "", "binary of kayak; it is started on fresh data")
	flag.StringVar(&c.apiserver, "kube-apiserver", "", "binary of kube-apiserver; it is started on fresh data, with --etcd")
	flag.StringVar(&c.etcd, "etcd", "", "binary of etcd, for kube-apiserver")
	flag.StringVar(&c.kubeconfig, "kubeconfig", "", "a server that runs already, in place of binaries; objects are left in it")
	flag.StringVar(&c.pids, "pids", "", "process ids of that server, comma separated; without them it has no CPU and memory figures")
	flag.StringVar(&c.scenarios, "scenario", "", "scenarios to run, comma separated; all by default: "+strings.Join(scenarioNames(), ", "))
	flag.IntVar(&c.objects, "objects", 10_000, "pods to store")
	flag.IntVar(&c.watchers, "watchers", 1000, "watchers, and nodes that the pods are spread over")
	flag.IntVar(&c.rounds, "rounds", 3, "how often each side is started and measured")
	flag.BoolVar(&c.quick, "quick", false, "one round, 2,000 objects, 200 watchers: to see that it works, not for figures")
	flag.DurationVar(&c.settle, "settle", 10*time.Second, "how long a server is left alone before its memory is looked at")
	flag.StringVar(&c.jsonOut, "json", "", "file to write every sample to, as JSON")
	flag.StringVar(&c.markdownOut, "markdown", "", "file to write the table of medians to, besides standard output")
	flag.StringVar(&c.documentDir, "document", "", "directory to write benchmarks.md and benchmarks.svg to")
	flag.StringVar(&c.keepLogs, "logs", "", "directory to leave the servers' logs in")
	flag.Parse()
	if c.quick {
		c.rounds, c.objects, c.watchers, c.settle = 1, 2000, 200, 3*time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	chosen, err := chooseScenarios(c.scenarios)
	if err != nil {
		return err
	}
	sides, err := c.sides()
	if err != nil {
		return err
	}
	r := &report{config: c}
	for round := range c.rounds {
		order := sides
		if round%2 == 1 { // who goes first changes, so that neither always finds the machine warm
			order = reversed(sides)
		}
		for _, s := range order {
			if err := runSide(ctx, c, s, round, chosen, r); err != nil {
				return fmt.Errorf("%s, round %d: %w", s.name, round+1, err)
			}
		}
		r.config.rounds = round + 1
		if err := r.write(sides); err != nil { // after each round, so that what breaks a later one does not take it away
			return err
		}
	}
	fmt.Print(r.markdown(sides))
	return nil
}

// write writes the files that are wanted.
func (r *report) write(sides []side) error {
	c := r.config
	if c.jsonOut != "" {
		if err := r.writeJSON(c.jsonOut); err != nil {
			return err
		}
	}
	if c.documentDir != "" {
		if err := r.writeDocument(c.documentDir, sides); err != nil {
			return err
		}
	}
	if c.markdownOut == "" {
		return nil
	}
	return os.WriteFile(c.markdownOut, []byte(r.markdown(sides)), 0o644)
}

func reversed(sides []side) []side {
	out := make([]side, 0, len(sides))
	for i := len(sides) - 1; i >= 0; i-- {
		out = append(out, sides[i])
	}
	return out
}

// sides returns what is to be measured, the reference last.
func (c config) sides() ([]side, error) {
	var sides []side
	if c.kayak != "" {
		sides = append(sides, side{"kayak", func(ctx context.Context, dir string) (*server, error) { return startKayak(ctx, c.kayak, dir) }})
	}
	if (c.apiserver == "") != (c.etcd == "") {
		return nil, errors.New("--kube-apiserver and --etcd go together")
	}
	if c.apiserver != "" {
		sides = append(sides, side{"kube-apiserver", func(ctx context.Context, dir string) (*server, error) {
			return startUpstream(ctx, c.apiserver, c.etcd, dir)
		}})
	}
	if c.kubeconfig != "" {
		sides = append(sides, side{"server", func(context.Context, string) (*server, error) { return running(c.kubeconfig, c.pids) }})
	}
	if len(sides) == 0 {
		return nil, errors.New("nothing to measure: give --kayak, --kube-apiserver with --etcd, or --kubeconfig")
	}
	return sides, nil
}

// runSide starts a server on fresh data, runs the scenarios, and stops it.
func runSide(ctx context.Context, c config, s side, round int, chosen []scenario, r *report) (err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	srv, err := s.start(ctx, dir)
	if err != nil {
		return errors.Join(err, keepLogs(c.keepLogs, dir, s.name, round))
	}
	b, err := newBench(c, srv)
	if err != nil {
		return errors.Join(err, srv.stop())
	}
	b.start = func(ctx context.Context) (*server, error) { return s.start(ctx, dir) }
	defer func() { err = errors.Join(err, b.server.stop(), keepLogs(c.keepLogs, dir, s.name, round)) }()
	b.done = func(id string, m sample) {
		fmt.Fprintf(os.Stderr, "%s  round %d/%d  %-15s %-22s %s\n", time.Now().Format(time.TimeOnly), round+1, c.rounds, s.name, id, m)
		r.add(id, s.name, round, m)
	}
	for _, sc := range chosen {
		if err := sc.run(ctx, b); err != nil {
			return fmt.Errorf("scenario %s: %w", sc.name, err)
		}
	}
	return nil
}

// keepLogs copies the servers' logs to a directory, if that is wanted.
func keepLogs(to, from, name string, round int) error {
	if to == "" {
		return nil
	}
	logs, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, fmt.Sprintf("%s-%d-%s", name, round+1, filepath.Base(path))), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// scenario is a family of measurements. Scenarios run in the order of the list, on one server; each can rely on load.
type scenario struct {
	name string
	run  func(context.Context, *bench) error
}

func scenarios() []scenario {
	return []scenario{
		{"start", started},
		{"watchers", watcherMemory},
		{"load", load},
		{"get", get},
		{"documents", documents},
		{"list", list},
		{"watchlist", watchList},
		{"quiet", quietList},
		{"fanout", fanOut},
		{"nodes", nodeWatchers},
		{"peak", peakLists},
		{"writes", writes},
		{"churn", churn},
		{"idle", idleCPU},
		{"restart", restart},
		{"definitions", definitions},
	}
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// chooseScenarios returns those that are named, and load, which the others build on; all for "".
func chooseScenarios(names string) ([]scenario, error) {
	if names == "" {
		return scenarios(), nil
	}
	wanted := map[string]bool{"load": true}
	for _, name := range strings.Split(names, ",") {
		wanted[name] = true
	}
	var chosen []scenario
	for _, s := range scenarios() {
		if wanted[s.name] {
			chosen = append(chosen, s)
			delete(wanted, s.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(scenarioNames(), ", "))
	}
	return chosen, nil
}

// Command bench measures Kubernetes API servers side by side: it gives each the same work and tells what the work cost the
// server. See README.md for how to run it and for what the figures mean.
//
//	main.go      flags;  run.go: rounds, sides in alternation
//	side.go      starting and stopping servers;  certs.go: what kube-apiserver needs for that
//	process.go   CPU time and memory of processes
//	client.go    a client that reads and throws away
//	measure.go   what one measurement is, and how it is taken
//	load.go list.go watch.go memory.go write.go churn.go restart.go custom.go documents.go stalled.go     the scenarios, a file for each family
//	large.go     a scenario for a run of its own
//	profile.go   profiles while work is done;  category.go: what they are summed up to
//	report.go    medians and ratios, as Markdown and JSON;  tables.go: which;  document.go: a page with a plot
//	benchstat.sh is for the Go benchmarks of the server: it compares two revisions
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
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
	quick, large           bool
	settle                 time.Duration
	jsonOut, markdownOut   string
	documentDir            string
	profileDir             string
	with                   string
	keepLogs               string
}

func main() {
	c, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the flags. What --quick and --large stand for gives way to what is said.
func parse(args []string) (config, error) {
	var c config
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.StringVar(&c.kayak, "kayak", "", "binary of kayak; it is started on fresh data")
	f.StringVar(&c.apiserver, "kube-apiserver", "", "binary of kube-apiserver; it is started on fresh data, with --etcd")
	f.StringVar(&c.etcd, "etcd", "", "binary of etcd, for kube-apiserver")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "a server that runs already, in place of binaries; objects are left in it")
	f.StringVar(&c.pids, "pids", "", "process ids of that server, comma separated; without them it has no CPU and memory figures")
	f.StringVar(&c.scenarios, "scenario", "", "scenarios to run, comma separated; all by default: "+strings.Join(scenarioNames(), ", "))
	f.IntVar(&c.objects, "objects", 10_000, "pods to store")
	f.IntVar(&c.watchers, "watchers", 1000, "watchers, and nodes that the pods are spread over")
	f.IntVar(&c.rounds, "rounds", 3, "how often each side is started and measured; 0 with --profile or --with to measure nothing")
	f.BoolVar(&c.quick, "quick", false, "one round, 2,000 objects, 200 watchers: to see that it works, not for figures")
	f.BoolVar(&c.large, "large", false, "one round of something else: memory up to 100,000 objects, and lists of half of them")
	f.DurationVar(&c.settle, "settle", 10*time.Second, "how long a server is left alone before its memory is looked at")
	f.StringVar(&c.jsonOut, "json", "", "file to write every sample to, as JSON")
	f.StringVar(&c.markdownOut, "markdown", "", "file to write the tables to, besides standard output")
	f.StringVar(&c.documentDir, "document", "", "directory to write benchmarks.md and benchmarks.svg to")
	f.StringVar(&c.profileDir, "profile", "", "directory for CPU profiles of each side, taken in a pass of their own after the rounds")
	f.StringVar(&c.with, "with", "", "files that --json has written in other runs, comma separated: they are reported together with this one")
	f.StringVar(&c.keepLogs, "logs", "", "directory to leave the servers' logs in")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("what is %q?", f.Arg(0))
	}
	if c.quick && c.large {
		return c, errors.New("--quick and --large do not go together")
	}
	said := map[string]bool{}
	f.Visit(func(f *flag.Flag) { said[f.Name] = true })
	instead := func(name string, set func()) {
		if !said[name] {
			set()
		}
	}
	if c.quick || c.large {
		instead("rounds", func() { c.rounds = 1 })
	}
	if c.quick {
		instead("objects", func() { c.objects = 2000 })
		instead("watchers", func() { c.watchers = 200 })
		instead("settle", func() { c.settle = 3 * time.Second })
	}
	if c.large {
		instead("objects", func() { c.objects = 100_000 })
	}
	return c, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// run does what the flags ask for. What fails is told at the end, and takes nothing else away.
func run(ctx context.Context, c config) error {
	chosen, err := c.chosen()
	if err != nil {
		return err
	}
	sides, err := c.sides(false)
	if err != nil {
		return err
	}
	r, err := newReport(c)
	if err != nil {
		return err
	}
	for round := range c.rounds {
		order := slices.Clone(sides)
		if round%2 == 1 { // who goes first changes, so that neither always finds the machine warm
			slices.Reverse(order)
		}
		for _, s := range order {
			r.runSide(ctx, s, round, chosen)
		}
		r.Rounds = round + 1
		if err := r.write(sides); err != nil { // after each round, so that what breaks a later one does not take it away
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if c.profileDir != "" && ctx.Err() == nil {
		if err := r.profile(ctx); err != nil {
			return err
		}
	}
	if err := r.write(sides); err != nil {
		return err
	}
	fmt.Print(r.tables(sides))
	fmt.Fprint(os.Stderr, r.timesText(sides))
	return r.failed()
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
	return os.WriteFile(c.markdownOut, []byte(r.tables(sides)), 0o644)
}

// sides returns what is to be measured, the reference last.
func (c config) sides(profiling bool) ([]side, error) {
	var sides []side
	if c.kayak != "" {
		sides = append(sides, side{"kayak", func(ctx context.Context, dir string) (*server, error) { return startKayak(ctx, c.kayak, dir) }})
	}
	if (c.apiserver == "") != (c.etcd == "") {
		return nil, errors.New("--kube-apiserver and --etcd go together")
	}
	if c.apiserver != "" {
		sides = append(sides, side{"kube-apiserver", func(ctx context.Context, dir string) (*server, error) {
			return startUpstream(ctx, c.apiserver, c.etcd, dir, profiling)
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

// runSide measures one side in one round.
func (r *report) runSide(ctx context.Context, s side, round int, chosen []scenario) {
	r.onSide(ctx, s, fmt.Sprintf("round %d/%d", round+1, r.config.rounds), round, chosen, func(b *bench) {
		done := b.done
		b.first = round == 0
		b.done = func(id string, m sample) {
			done(id, m)
			r.add(id, s.name, round, m)
		}
	})
}

// onSide starts a server on fresh data, runs the scenarios, and kills it. A scenario that fails does not keep others from running,
// except where its pods would be missing.
func (r *report) onSide(ctx context.Context, s side, when string, round int, chosen []scenario, prepare func(*bench)) {
	logf := func(what, text string) {
		fmt.Fprintf(os.Stderr, "%s  %-11s %-15s %-22s %s\n", time.Now().Format(time.TimeOnly), when, s.name, what, text)
	}
	failed := func(scenario string, err error) {
		if err == nil {
			return
		}
		logf(scenario, "FAILED: "+err.Error())
		r.Failures = append(r.Failures, failure{Scenario: scenario, Side: s.name, Round: round + 1, Error: err.Error()})
	}
	if ctx.Err() != nil {
		return
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		failed("start", err)
		return
	}
	defer os.RemoveAll(dir)
	defer func() { failed("logs", keepLogs(r.config.keepLogs, dir, s.name, round)) }()
	spend := func(scenario string, since time.Time) {
		r.Times = append(r.Times, spent{Scenario: scenario, Side: s.name, Round: round + 1, Seconds: time.Since(since).Seconds()})
	}
	began := time.Now()
	srv, err := s.start(ctx, dir)
	spend("start", began)
	if err != nil {
		failed("start", err)
		return
	}
	b, err := newBench(r.config, srv)
	if err != nil {
		failed("start", errors.Join(err, srv.kill()))
		return
	}
	defer func() { failed("stop", b.server.kill()) }()
	if len(srv.commands) > 0 {
		b.start = func(ctx context.Context) (*server, error) { return s.start(ctx, dir) }
	}
	b.done = func(id string, m sample) { logf(id, m.String()) }
	prepare(b)
	for _, sc := range chosen {
		began := time.Now()
		err := sc.run(ctx, b)
		failed(sc.name, err)
		spend(sc.name, began)
		logf("- "+sc.name, "took "+time.Since(began).Round(100*time.Millisecond).String())
		if ctx.Err() != nil || err != nil && sc.name == "load" {
			return
		}
	}
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
	// profiled scenarios are those of the pass that takes profiles, unless others are named.
	profiled bool
}

func scenarios() []scenario {
	return []scenario{
		{name: "start", run: started},
		{name: "watchers", run: watcherMemory},
		{name: "load", run: load, profiled: true},
		{name: "get", run: get, profiled: true},
		{name: "documents", run: documents},
		{name: "list", run: list, profiled: true},
		{name: "watchlist", run: watchList, profiled: true},
		{name: "quiet", run: quietList},
		{name: "fanout", run: fanOut, profiled: true},
		{name: "nodes", run: nodeWatchers},
		{name: "peak", run: peakLists},
		{name: "writes", run: writes, profiled: true},
		{name: "churn", run: churn, profiled: true},
		{name: "idle", run: idleCPU},
		{name: "restart", run: restart},
		{name: "definitions", run: definitions},
	}
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// chosen returns the scenarios of the rounds.
func (c config) chosen() ([]scenario, error) {
	if !c.large {
		return chooseScenarios(c.scenarios)
	}
	if c.scenarios != "" {
		return nil, errors.New("--large and --scenario do not go together")
	}
	return []scenario{{name: "large", run: large}}, nil
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

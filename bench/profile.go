package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
)

const (
	profilePath = "/debug/pprof/profile"
	// profilePiece is how long one profile is, in seconds. Nobody knows how long the work will take, so there are as many as it takes.
	profilePiece = 2
	// profileTime is how long work that can go on for any time goes on.
	profileTime = 6 * time.Second
)

// profiled says where the CPU time of one operation went on a side.
type profiled struct {
	ID   string `json:"id"`
	Side string `json:"side"`
	// Seconds is how much CPU time the profiles have seen.
	Seconds float64 `json:"seconds"`
	// Parts are the parts of it, by category; together 1. Allocating is what part of it allocates, in whatever category.
	Parts      map[string]float64 `json:"parts"`
	Allocating float64            `json:"allocating"`
}

// profile starts each side once more and takes profiles of the scenarios that are named, or of those that are for it.
func (r *report) profile(ctx context.Context) error {
	if err := os.MkdirAll(r.config.profileDir, 0o755); err != nil {
		return err
	}
	chosen, err := chooseScenarios(r.config.scenarios)
	if err != nil {
		return err
	}
	if r.config.scenarios == "" {
		chosen = slices.DeleteFunc(chosen, func(s scenario) bool { return !s.profiled })
	}
	sides, err := r.config.sides(true)
	if err != nil {
		return err
	}
	r.Profiles = nil // those of an earlier run are of no use beside these
	for _, s := range sides {
		p := &profiler{dir: r.config.profileDir, side: s.name}
		r.onSide(ctx, s, "profiles", r.Rounds, chosen, func(b *bench) { b.profiler, b.first = p, false })
		r.Profiles = append(r.Profiles, p.taken...)
	}
	return nil
}

// profiler takes CPU profiles of a side while it works.
type profiler struct {
	dir, side string
	taken     []profiled
}

// during does the work, and takes profiles meanwhile if there is a place for them in the document. They are kept as files, too,
// for go tool pprof.
func (p *profiler) during(ctx context.Context, s *server, id string, work func() (sample, error)) (sample, error) {
	if !hasProfile(id) {
		return work()
	}
	c, err := newClient(s.config)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	stop := make(chan struct{})
	sources := []source{{name: "", fetch: func(ctx context.Context, query string) ([]byte, error) {
		return c.read(ctx, request{path: profilePath + query})
	}}}
	for _, url := range s.profiles {
		sources = append(sources, source{name: "-etcd", etcd: true, fetch: func(ctx context.Context, query string) ([]byte, error) {
			return fetch(ctx, url+query)
		}})
	}
	var wg sync.WaitGroup
	for i := range sources {
		wg.Go(func() { sources[i].collect(ctx, stop) })
	}
	m, err := work()
	close(stop)
	wg.Wait()
	if err != nil {
		return m, err
	}
	return m, p.keep(id, sources)
}

// source is one process whose profiles are collected.
type source struct {
	name   string
	etcd   bool // all of it is storage
	fetch  func(ctx context.Context, query string) ([]byte, error)
	pieces []*profile.Profile
	err    error
}

// collect takes one profile after another until there is something on stop.
func (s *source) collect(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		raw, err := s.fetch(ctx, fmt.Sprintf("?seconds=%d", profilePiece))
		if err != nil {
			s.err = fmt.Errorf("profile: %w", err)
			return
		}
		piece, err := profile.Parse(bytes.NewReader(raw))
		if err != nil {
			s.err = fmt.Errorf("profile: %w", err)
			return
		}
		s.pieces = append(s.pieces, piece)
	}
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// keep writes the profiles of one measurement to files and notes what they sum up to.
func (p *profiler) keep(id string, sources []source) error {
	var sum categorySum
	for _, s := range sources {
		if s.err != nil {
			return s.err
		}
		all, err := profile.Merge(s.pieces)
		if err != nil {
			return err
		}
		if err := writeProfile(filepath.Join(p.dir, p.side+"-"+id+s.name+".pb.gz"), all); err != nil {
			return err
		}
		sum.add(all, s.etcd)
	}
	parts, allocating := sum.parts()
	p.taken = append(p.taken, profiled{
		ID: id, Side: p.side, Seconds: float64(sum.total) / float64(time.Second), Parts: parts, Allocating: allocating,
	})
	return nil
}

func writeProfile(path string, p *profile.Profile) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := p.Write(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// profiledRow is work that the document has a column for.
type profiledRow struct{ id, title string }

func profiledWork() []profiledRow {
	return []profiledRow{
		{"list-json", "LIST, JSON"},
		{"list-protobuf", "LIST, protobuf"},
		{"list-selector", "LIST, 1 % by label"},
		{"watch-list", "watch-list"},
		{"fan-out", "event to a watcher"},
		{"get-pod", "GET"},
		{"create-small-pod", "pod create"},
		{"patch-pod-status", "status patch"},
		{"delete-pod", "pod delete"},
		{"create-configmap", "ConfigMap create"},
		{"renew-lease", "lease renewal"},
		{"apply-update", "apply that changes"},
		{"create-custom", "custom create"},
		{"churn", "churn"},
	}
}

func hasProfile(id string) bool {
	return slices.ContainsFunc(profiledWork(), func(w profiledRow) bool { return w.id == id })
}

// profileTables tells, for each kind of work that was profiled, what each side's time went to: the median of the rounds, divided as
// the profiles are. (The profile of an event has the write in it, too, of which the median is free.)
func (r *report) profileTables(sides []side) string {
	if len(r.Profiles) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("## Where the CPU time goes\n\nServer CPU time of one operation, by what it is spent on. The profiles were taken in a pass of their own; " +
		"what they say is applied to the medians above; where there are none, it is a percentage. *Allocating* is counted in the other lines already.\n")
	for _, s := range sides {
		r.profileTable(&b, s)
	}
	return b.String()
}

func (r *report) profileTable(b *strings.Builder, s side) {
	var columns []profiled
	var texts []func(part float64) string
	head, rule, all := "| "+s.name+" |", "|---|", "| all |"
	for _, w := range profiledWork() {
		i := slices.IndexFunc(r.Profiles, func(p profiled) bool { return p.ID == w.id && p.Side == s.name })
		if i < 0 {
			continue
		}
		text := func(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }
		if cost, ok := r.median(w.id, s.name, serverCPU); ok {
			text = func(part float64) string { return microsText(part * cost) }
		}
		columns, texts = append(columns, r.Profiles[i]), append(texts, text)
		head, rule, all = head+" "+w.title+" |", rule+"---|", all+" "+text(1)+" |"
	}
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n%s\n%s\n", head, rule, all)
	line := func(title string, part func(profiled) float64) {
		cells, any := "", false
		for i, p := range columns {
			cell := ""
			if part := part(p); part >= leastPart {
				cell, any = texts[i](part), true
			}
			cells += " " + cell + " |"
		}
		if any {
			fmt.Fprintf(b, "| %s |%s\n", title, cells)
		}
	}
	for _, c := range categories() {
		line(c.title, func(p profiled) float64 { return p.Parts[c.title] })
	}
	line("*allocating*", func(p profiled) float64 { return p.Allocating })
}

// leastPart is what is worth a figure.
const leastPart = 0.01

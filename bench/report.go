package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// entry is one sample with where it comes from.
type entry struct {
	ID    string `json:"id"`
	Side  string `json:"side"`
	Round int    `json:"round"`
	sample
}

// failure is what did not run.
type failure struct {
	Scenario string `json:"scenario"`
	Side     string `json:"side"`
	Round    int    `json:"round"`
	Error    string `json:"error"`
}

// spent is how long a scenario took.
type spent struct {
	Scenario string  `json:"scenario"`
	Side     string  `json:"side"`
	Round    int     `json:"round"`
	Seconds  float64 `json:"seconds"`
}

// record is what a run leaves, as JSON.
type record struct {
	Objects  int        `json:"objects"`
	Watchers int        `json:"watchers"`
	Rounds   int        `json:"rounds"`
	CPUs     int        `json:"cpus"`
	Go       string     `json:"go"`
	Load     string     `json:"loadAtStart"`
	Samples  []entry    `json:"samples"`
	Profiles []profiled `json:"profiles,omitempty"`
	Failures []failure  `json:"failures,omitempty"`
	Times    []spent    `json:"times"`
}

// report collects samples.
type report struct {
	record
	config config
}

// newReport returns a report with what earlier runs have left, if there is to be any. Where nothing is measured this time, the
// conditions are those of the first of them.
func newReport(c config) (*report, error) {
	load, _, _ := strings.Cut(readLine("/proc/loadavg"), " ")
	r := &report{config: c, record: record{Objects: c.objects, Watchers: c.watchers, CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: load}}
	if c.with == "" {
		return r, nil
	}
	for i, path := range strings.Split(c.with, ",") {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var old record
		if err := json.Unmarshal(text, &old); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if c.rounds == 0 && i == 0 {
			r.Objects, r.Watchers, r.Rounds, r.CPUs, r.Go, r.Load = old.Objects, old.Watchers, old.Rounds, old.CPUs, old.Go, old.Load
		}
		r.Samples = append(r.Samples, old.Samples...)
		r.Profiles = append(r.Profiles, old.Profiles...)
		r.Failures = append(r.Failures, old.Failures...)
		r.Times = append(r.Times, old.Times...)
	}
	return r, nil
}

// readLine returns a file's text without its end of line; "" when there is none.
func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (r *report) add(id, side string, round int, s sample) {
	r.Samples = append(r.Samples, entry{id, side, round + 1, s})
}

// failed returns what did not run, as an error.
func (r *report) failed() error {
	var errs []error
	for _, f := range r.Failures {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

func (f failure) String() string {
	return fmt.Sprintf("%s, %s, round %d: %s", f.Side, f.Scenario, f.Round, f.Error)
}

// failuresText lists what did not run, as Markdown.
func (r *report) failuresText() string {
	if len(r.Failures) == 0 {
		return ""
	}
	text := "\n## What failed\n\n"
	for _, f := range r.Failures {
		text += "- " + f.String() + "\n"
	}
	return text
}

// timesText tells how long scenarios took on each side, in all rounds.
func (r *report) timesText(sides []side) string {
	var names []string
	took := map[string]float64{}
	for _, t := range r.Times {
		if !slices.Contains(names, t.Scenario) {
			names = append(names, t.Scenario)
		}
		took[t.Scenario+" "+t.Side] += t.Seconds
	}
	var b strings.Builder
	b.WriteString("\nseconds, all rounds:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%-12s", name)
		for _, s := range sides {
			fmt.Fprintf(&b, "  %s %6.1f", s.name, took[name+" "+s.name])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%.1f minutes\n", r.minutes())
	return b.String()
}

// minutes is how long everything took.
func (r *report) minutes() float64 {
	sum := 0.0
	for _, t := range r.Times {
		sum += t.Seconds
	}
	return sum / 60
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r.record, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// median returns the middle of a figure over all rounds; false when there is none.
func (r *report) median(id, side string, figure func(sample) float64) (float64, bool) {
	var values []float64
	for _, e := range r.Samples {
		if e.ID == id && e.Side == side {
			values = append(values, figure(e.sample))
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2, true
	}
	return values[middle], true
}

// tables returns all that there is, as Markdown.
func (r *report) tables(sides []side) string {
	text := r.markdown(sides)
	if profiles := r.profileTables(sides); profiles != "" {
		text += "\n" + profiles
	}
	return text
}

// markdown returns the table of medians, with ratios when there are two sides.
func (r *report) markdown(sides []side) string {
	if len(r.Samples) == 0 {
		return r.failuresText() // only profiles were taken
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d pods, %d watchers, %s, %d CPUs.\n\n", r.Objects, r.Watchers, roundsText(r.Rounds), r.CPUs)
	b.WriteString("| work |")
	for _, s := range sides {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	b.WriteString(" ratio | target | p50 | p99 | client CPU |\n|---|" + strings.Repeat("---|", len(sides)+5) + "\n")
	for _, row := range rows() {
		r.line(&b, row, sides)
	}
	b.WriteString(r.writeTable(sides))
	return b.String() + r.failuresText()
}

func roundsText(n int) string {
	if n == 1 {
		return "one round"
	}
	return fmt.Sprintf("medians of %d rounds", n)
}

func (r *report) line(b *strings.Builder, row row, sides []side) {
	var values []float64
	for _, s := range sides {
		if v, ok := r.median(row.id, s.name, row.figure); ok {
			values = append(values, v)
		}
	}
	if len(values) < len(sides) {
		return
	}
	fmt.Fprintf(b, "| %s |", row.title)
	for _, v := range values {
		fmt.Fprintf(b, " %s |", row.text(v))
	}
	fmt.Fprintf(b, " %s | %s | %s | %s | %s |\n", ratio(values), row.target,
		r.pair(row.id, sides, microsText, func(s sample) float64 { return s.P50 }), r.pair(row.id, sides, microsText, p99),
		r.pair(row.id, sides, microsText, func(s sample) float64 { return s.ClientCPU }))
}

// ratio tells the first value as a part of the second.
func ratio(values []float64) string {
	if len(values) != 2 || values[0] <= 0 || values[1] <= 0 {
		return ""
	}
	if values[0] > values[1] {
		return fmt.Sprintf("%.1f times", values[0]/values[1])
	}
	return fmt.Sprintf("1/%.1f", values[1]/values[0])
}

// pair tells a figure on every side.
func (r *report) pair(id string, sides []side, text func(float64) string, figure func(sample) float64) string {
	var texts []string
	for _, s := range sides {
		if v, ok := r.median(id, s.name, figure); ok && v != 0 {
			texts = append(texts, text(v))
		}
	}
	return strings.Join(texts, " : ")
}

// microsText tells a time in microseconds.
func microsText(micros float64) string {
	switch { // three digits: 999.6 is 1000
	case micros >= 999.5e3:
		return fmt.Sprintf("%.2f s", micros/1e6)
	case micros >= 999.5:
		return fmt.Sprintf("%.3g ms", micros/1000)
	}
	return fmt.Sprintf("%.3g µs", micros)
}

func bytesText(n float64) string {
	switch {
	case n >= 1<<20 || n <= -1<<20:
		return fmt.Sprintf("%.1f MB", n/(1<<20))
	case n >= 1<<10 || n <= -1<<10:
		return fmt.Sprintf("%.1f KB", n/(1<<10))
	}
	return fmt.Sprintf("%.0f B", n)
}

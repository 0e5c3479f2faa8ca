package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is a line of the table: what is compared, and the target for it, kayak beside kube-apiserver.
type row struct {
	id, title string
	figure    func(sample) float64
	text      func(float64) string
	target    string
	more      bool // is better
}

func serverCPU(s sample) float64 { return s.ServerCPU }
func p99(s sample) float64       { return s.P99 }
func memory(s sample) float64    { return s.Memory }
func perSecond(s sample) float64 { return s.PerSecond }

func numberText(n float64) string { return fmt.Sprintf("%.0f", n) }

// rows are in the order of the table. A sample without a row is only in the JSON.
func rows() []row {
	cpu := func(id, title, target string) row {
		return row{id: id, title: title + ": server CPU", figure: serverCPU, text: microsText, target: target}
	}
	mem := func(id, title, target string) row {
		return row{id: id, title: title, figure: memory, text: bytesText, target: target}
	}
	return []row{
		cpu("list-json", "LIST of all pods, JSON", "1/12"),
		cpu("list-gzip", "LIST, gzip", "1/40"),
		cpu("list-protobuf", "LIST, protobuf", "1/9"),
		cpu("list-table", "LIST, Table", "1/5"),
		cpu("list-selector", "LIST, label selector matching 1 %", "1/10"),
		cpu("watch-list", "watch-list of all pods, JSON", "1/20"),
		cpu("list-json-first", "the first LIST, JSON", ""),
		cpu("list-gzip-first", "the first LIST, gzip", ""),
		cpu("list-protobuf-first", "the first LIST, protobuf", ""),
		cpu("list-table-first", "the first LIST, Table", ""),
		cpu("watch-list-first", "the first watch-list", ""),
		cpu("fan-out", "one event to one of all watchers", "1/6"),
		{id: "fan-out", title: "one event to one of all watchers: delivery p99", figure: p99, text: microsText, target: "not worse"},
		cpu("fan-out-100", "one event to one of 100 watchers", ""),
		cpu("fan-out-5000", "one event to one of 5,000 watchers", ""),
		cpu("fan-out-stalled", "one event to one of all watchers, 1 % more that do not read", ""),
		{id: "fan-out-stalled", title: "the same: delivery p99", figure: p99, text: microsText, target: "not worse"},
		cpu("status-to-node", "pod status patch, to the right spec.nodeName watcher", "1/5"),
		{id: "list-quiet", title: "LIST of a quiet kind, another written 50 times/s: p99", figure: p99, text: microsText, target: "5 ms"},
		mem("memory-per-pod", "memory per stored pod, PSS", "1/6"),
		mem("memory-per-watcher", "memory per watcher, PSS", "1/2"),
		mem("peak-json", "4 LISTs at a time, JSON: peak extra memory, RSS", "20 MB at 50,000"),
		mem("peak-table", "4 LISTs at a time, Table: peak extra memory, RSS", "100 MB at 50,000"),
		cpu("peak-json-cpu", "4 LISTs at a time, JSON", ""),
		cpu("peak-table-cpu", "4 LISTs at a time, Table", ""),
		mem("memory-idle", "idle memory, PSS", "1/3"),
		mem("memory-after-lists", "memory after the lists, PSS", ""),
		cpu("create-small-pod", "create of a 3 KB pod, 16 at a time", "1/4"),
		{id: "create-small-pod-64", title: "create of a 3 KB pod, 64 at a time: per second", figure: perSecond, text: numberText, target: "4 times", more: true},
		cpu("create-pod", "create of a 7 KB pod, 16 at a time", ""),
		cpu("patch-pod-status", "pod status patch, 16 at a time", "1/5"),
		cpu("delete-pod", "pod delete, 16 at a time", "1/4"),
		cpu("create-configmap", "ConfigMap create, 16 at a time", "1/4"),
		cpu("update-configmap", "ConfigMap update, 16 at a time", ""),
		cpu("renew-lease", "lease renewal (PUT), 16 at a time", "1/4"),
		cpu("apply-create", "server-side apply that creates a Deployment", "1/3"),
		cpu("apply-update", "server-side apply that changes a Deployment", "1/3"),
		cpu("create-custom", "custom resource create, 2 CEL rules, 16 at a time", "1/4"),
		cpu("patch-custom", "custom resource merge patch, 16 at a time", ""),
		cpu("get-pod", "GET of a pod, JSON, 16 at a time", "1/4"),
		cpu("churn", "mixed churn, 32 clients", "1/4"),
		{id: "churn", title: "mixed churn, 32 clients: p99", figure: p99, text: microsText, target: "lower"},
		{id: "cold-start", title: "cold start to /readyz", figure: p99, text: microsText, target: "1/12"},
		cpu("cold-start", "cold start", "1/8"),
		{id: "restart", title: "restart with all objects, to /readyz", figure: p99, text: microsText, target: "1/6"},
		{id: "stop", title: "stop with 20 watches open", figure: p99, text: microsText, target: "1 s"},
		cpu("discovery", "aggregated discovery, gzip", ""),
		cpu("openapi-v2", "OpenAPI v2, protobuf, gzip", ""),
		cpu("openapi-v3", "OpenAPI v3 of a group version, gzip", ""),
		cpu("discovery-first", "the first discovery", ""),
		cpu("openapi-v2-first", "the first OpenAPI v2", ""),
		cpu("openapi-v3-first", "the first OpenAPI v3", ""),
		cpu("definitions", "one of many CRDs of 20 KB, until established", ""),
		{id: "definitions", title: "the same: until the last is established", figure: p99, text: microsText, target: "10 s"},
		mem("memory-per-definition", "memory per CRD, PSS", "300 KB"),
		cpu("idle-cpu", "one second of doing nothing", "1/3"),
	}
}

// entry is one sample with where it comes from.
type entry struct {
	ID    string `json:"id"`
	Side  string `json:"side"`
	Round int    `json:"round"`
	sample
}

// report collects samples.
type report struct {
	config  config
	entries []entry
}

func (r *report) add(id, side string, round int, s sample) {
	r.entries = append(r.entries, entry{id, side, round + 1, s})
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(map[string]any{
		"objects": r.config.objects, "watchers": r.config.watchers, "rounds": r.config.rounds,
		"cpus": runtime.NumCPU(), "go": runtime.Version(), "samples": r.entries,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// median returns the middle of a figure over all rounds; false when there is none.
func (r *report) median(id, side string, figure func(sample) float64) (float64, bool) {
	var values []float64
	for _, e := range r.entries {
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

// markdown returns the table of medians, with ratios when there are two sides.
func (r *report) markdown(sides []side) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pods, %d watchers, %s, %d CPUs.\n\n", r.config.objects, r.config.watchers, roundsText(r.config.rounds), runtime.NumCPU())
	b.WriteString("| work |")
	for _, s := range sides {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	b.WriteString(" ratio | target | p50 | p99 | client CPU |\n|---|" + strings.Repeat("---|", len(sides)+5) + "\n")
	for _, row := range rows() {
		r.line(&b, row, sides)
	}
	return b.String()
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
		r.pair(row.id, sides, func(s sample) float64 { return s.P50 }), r.pair(row.id, sides, p99),
		r.pair(row.id, sides, func(s sample) float64 { return s.ClientCPU }))
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

// pair tells a time on every side.
func (r *report) pair(id string, sides []side, figure func(sample) float64) string {
	var texts []string
	for _, s := range sides {
		if v, ok := r.median(id, s.name, figure); ok && v != 0 {
			texts = append(texts, microsText(v))
		}
	}
	return strings.Join(texts, " : ")
}

// microsText tells a time in microseconds.
func microsText(micros float64) string {
	d := time.Duration(micros * float64(time.Microsecond))
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
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

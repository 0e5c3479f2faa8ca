package main

import (
	"fmt"
	"strings"
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
		mem("peak-json", "4 LISTs at a time, JSON: peak extra memory, RSS", ""),
		mem("peak-table", "4 LISTs at a time, Table: peak extra memory, RSS", ""),
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
		mem("memory-per-pod-10000", "memory per stored pod, 10,000 of them, PSS", "1/6"),
		mem("memory-per-pod-50000", "memory per stored pod, 50,000 of them, PSS", "1/6"),
		mem("memory-per-pod-100000", "memory per stored pod, 100,000 of them, PSS", "1/6"),
		cpu("list-json-50000", "LIST of 50,000 pods, JSON", "1/12"),
		cpu("list-gzip-50000", "LIST of 50,000, gzip", "1/40"),
		cpu("list-protobuf-50000", "LIST of 50,000, protobuf", "1/9"),
		cpu("list-table-50000", "LIST of 50,000, Table", "1/5"),
		cpu("list-selector-50000", "LIST of 50,000, label selector matching 1 %", "1/10"),
		cpu("watch-list-50000", "watch-list of 50,000 pods, JSON", "1/20"),
		cpu("list-json-first-50000", "the first LIST of 50,000, JSON", ""),
		cpu("list-gzip-first-50000", "the first LIST of 50,000, gzip", ""),
		cpu("list-protobuf-first-50000", "the first LIST of 50,000, protobuf", ""),
		cpu("list-table-first-50000", "the first LIST of 50,000, Table", ""),
		cpu("watch-list-first-50000", "the first watch-list of 50,000", ""),
		mem("peak-json-50000", "4 LISTs of 50,000 at a time, JSON: peak extra memory, RSS", "20 MB"),
		mem("peak-table-50000", "4 LISTs of 50,000 at a time, Table: peak extra memory, RSS", "100 MB"),
		mem("memory-after-lists-50000", "memory after the lists of 50,000, PSS", ""),
	}
}

// writeTable tells what writes take with one client, 16 and 64 at a time.
func (r *report) writeTable(sides []side) string {
	titles := map[string]string{
		"create-small-pod": "pod create", "patch-pod-status": "pod status patch", "delete-pod": "pod delete", "create-configmap": "ConfigMap create",
		"update-configmap": "ConfigMap update", "renew-lease": "lease renewal", "apply-create": "apply that creates", "apply-update": "apply that changes",
		"create-custom": "custom create", "patch-custom": "custom patch",
	}
	var b strings.Builder
	for _, form := range writeForms() {
		if _, ok := r.median(writeID(form.id, 1), sides[0].name, perSecond); !ok {
			continue
		}
		fmt.Fprintf(&b, "| %s |", titles[form.id])
		for _, f := range []func(id string) string{
			func(id string) string { return r.pair(id, sides, microsText, serverCPU) },
			func(id string) string { return r.pair(id, sides, numberText, perSecond) },
			func(id string) string { return r.pair(id, sides, microsText, p99) },
		} {
			for _, together := range []int{1, createsTogether, many} {
				fmt.Fprintf(&b, " %s |", f(writeID(form.id, together)))
			}
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return ""
	}
	return "\nWrites, 1, 16 and 64 at a time.\n\n| write | CPU, 1 | CPU, 16 | CPU, 64 | per second, 1 | 16 | 64 | p99, 1 | p99, 16 | p99, 64 |\n|---|" +
		strings.Repeat("---|", 9) + "\n" + b.String()
}

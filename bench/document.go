package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// notesMark begins the part of the document that people write. It is kept when the document is made again.
const notesMark = "<!-- What follows is written by hand, and kept when the rest is made again. -->\n"

// writeDocument writes benchmarks.md and benchmarks.svg to a directory: the conditions, the table, and what is lost as plainly as
// what is won.
func (r *report) writeDocument(dir string, sides []side) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "benchmarks.md")
	notes := notesMark
	if old, err := os.ReadFile(path); err == nil {
		if _, kept, ok := strings.Cut(string(old), notesMark); ok {
			notes += kept
		}
	}
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nMade by `bench`, whose [README](../bench/README.md) says what each figure means and how to make this page again.\n\n")
	fmt.Fprintf(&b, "%s. Go %s, %s/%s, %d CPUs%s, load average %s at the start. ", time.Now().UTC().Format(time.DateOnly), strings.TrimPrefix(r.Go, "go"),
		runtime.GOOS, runtime.GOARCH, r.CPUs, kernel(), r.Load)
	b.WriteString(r.config.versions() + "\nEach side is started on fresh data, in alternation; the servers and the client share the machine. " +
		"What takes long was measured in the first round only, what is of 50,000 objects and more in a run of its own. ")
	fmt.Fprintf(&b, "All of it took %.0f minutes.\n\n", r.minutes())
	b.WriteString("![how much of kube-apiserver's cost](benchmarks.svg)\n\n" + r.markdown(sides) + "\n")
	b.WriteString(r.losses(sides))
	if tables := r.profileTables(sides); tables != "" {
		b.WriteString("\n" + tables)
	}
	b.WriteString("\n" + notes)
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.svg"), []byte(r.plot(sides)), 0o644)
}

func kernel() string {
	if release := readLine("/proc/sys/kernel/osrelease"); release != "" {
		return ", Linux " + release
	}
	return ""
}

// versions asks the programs what they are.
func (c config) versions() string {
	var known []string
	for _, program := range []struct{ name, path, arg string }{
		{"kayak", c.kayak, "version"}, {"kube-apiserver", c.apiserver, "--version"}, {"etcd", c.etcd, "--version"},
	} {
		if program.path == "" {
			continue
		}
		out, err := exec.Command(program.path, program.arg).Output()
		if first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); err == nil && first != "" {
			known = append(known, program.name+": "+first)
		}
	}
	return strings.Join(known, "; ") + "."
}

// compared returns a figure of both sides; false when it is not there for both.
func (r *report) compared(row row, sides []side) (ours, theirs float64, ok bool) {
	if len(sides) != 2 {
		return 0, 0, false
	}
	ours, first := r.median(row.id, sides[0].name, row.figure)
	theirs, second := r.median(row.id, sides[1].name, row.figure)
	return ours, theirs, first && second && ours > 0 && theirs > 0
}

// losses lists what does not reach its target, or is worse than the other side.
func (r *report) losses(sides []side) string {
	var b strings.Builder
	for _, row := range rows() {
		ours, theirs, ok := r.compared(row, sides)
		if !ok {
			continue
		}
		part := ours / theirs
		if row.more {
			part = 1 / part
		}
		if part > 1 || missed(row.target, ours, part) {
			fmt.Fprintf(&b, "- %s: %s beside %s", row.title, row.text(ours), row.text(theirs))
			if row.target != "" {
				fmt.Fprintf(&b, ", where the target is %s", row.target)
			}
			b.WriteString("\n")
		}
	}
	r.slower(&b, sides)
	if b.Len() == 0 {
		return ""
	}
	return "## What falls short\n\n" + b.String()
}

// slower lists where the p99 is worse than the other side's, unless a row tells of it itself.
func (r *report) slower(b *strings.Builder, sides []side) {
	told := map[string]bool{}
	for _, row := range rows() {
		told[row.id] = told[row.id] || strings.Contains(row.title, "p99")
	}
	for _, row := range rows() {
		row.text = microsText
		row.figure = p99
		ours, theirs, ok := r.compared(row, sides)
		if !ok || ours <= theirs || told[row.id] {
			continue
		}
		told[row.id] = true
		fmt.Fprintf(b, "- %s: p99 %s beside %s\n", strings.TrimSuffix(row.title, ": server CPU"), microsText(ours), microsText(theirs))
	}
}

// missed tells whether a target is not reached by a value, which is some part of the other side's.
func missed(target string, value, part float64) bool {
	if want, ok := partOf(target); ok {
		return part > want
	}
	most, ok := limitOf(target)
	return ok && value > most
}

// limitOf reads a target of the form 5 ms or 20 MB, in microseconds or bytes.
func limitOf(target string) (float64, bool) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(target, "%g %s", &n, &unit); err != nil {
		return 0, false
	}
	factor, ok := map[string]float64{"ms": 1e3, "s": 1e6, "KB": 1 << 10, "MB": 1 << 20}[unit]
	return n * factor, ok
}

// partOf reads a target of the form 1/12, or "4 times", which is 1/4 where more is better.
func partOf(target string) (float64, bool) {
	var n float64
	if _, err := fmt.Sscanf(target, "1/%g", &n); err == nil && n > 0 {
		return 1 / n, true
	}
	if _, err := fmt.Sscanf(target, "%g times", &n); err == nil && n > 0 {
		return 1 / n, true
	}
	return 0, false
}

// Sizes of the plot, in pixels. An axis of 1/100 to 2 is logarithmic.
const (
	plotWidth, plotLabels, plotRow, plotTop = 860, 380, 22, 44
	plotLow, plotHigh                       = 0.01, 2.0
)

// plot draws, for each row, what part of the reference's figure ours is.
func (r *report) plot(sides []side) string {
	x := func(part float64) float64 {
		part = min(max(part, plotLow), plotHigh)
		return plotLabels + (plotWidth-plotLabels-20)*math.Log(part/plotLow)/math.Log(plotHigh/plotLow)
	}
	var bars strings.Builder
	y := plotTop
	for _, row := range rows() {
		ours, theirs, ok := r.compared(row, sides)
		if !ok {
			continue
		}
		part, colour := ours/theirs, "#2a7f62"
		if row.more {
			part = 1 / part
		}
		if part > 1 {
			colour = "#b5462f"
		}
		fmt.Fprintf(&bars, `<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLabels-8, y+15, html.EscapeString(row.title))
		fmt.Fprintf(&bars, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`, plotLabels, y+4, x(part)-plotLabels, plotRow-8, colour)
		if want, isPart := partOf(row.target); isPart {
			fmt.Fprintf(&bars, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#333" stroke-width="2"/>`, x(want), x(want), y+2, y+plotRow-2)
		}
		bars.WriteString("\n")
		y += plotRow
	}
	var axis strings.Builder
	for _, part := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2} {
		label := fmt.Sprintf("1/%.0f", 1/part)
		if part >= 1 {
			label = fmt.Sprintf("%.0f", part)
		}
		fmt.Fprintf(&axis, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#ccc"/>`, x(part), x(part), plotTop-6, y)
		fmt.Fprintf(&axis, `<text x="%.0f" y="%d" text-anchor="middle">%s</text>`+"\n", x(part), plotTop-12, label)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="8" y="16" font-weight="bold">What part of the reference's cost kayak has (shorter is better; the mark is the target)</text>
%s%s</svg>
`, plotWidth, y+12, axis.String(), bars.String())
}

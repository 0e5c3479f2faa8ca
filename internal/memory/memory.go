// Package memory finds out how much memory the process may use, so that what is kept only for speed can be sized by it.
package memory

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Limit returns how many bytes the process may use: the smallest of GOMEMLIMIT, the limits of its control groups, and the
// machine's memory. It returns 0 when nothing is known.
func Limit() int64 { return limit("/", debug.SetMemoryLimit(-1)) }

// limit is Limit with the files below root.
func limit(root string, goLimit int64) int64 {
	lowest := goLimit // math.MaxInt64 when there is none
	for _, n := range append(groupLimits(root), total(root)) {
		if n > 0 {
			lowest = min(lowest, n)
		}
	}
	if lowest == math.MaxInt64 {
		return 0
	}
	return lowest
}

// groupLimits reads the limits of the process's control group and of those above it, in either version of the hierarchy. Inside
// a container the group's path may be one of the host, so that only the top can be found.
func groupLimits(root string) []int64 {
	limits := []int64{0}
	for line := range strings.SplitSeq(read(root, "proc/self/cgroup"), "\n") {
		fields := strings.SplitN(line, ":", 3) // hierarchy, controllers, path (cgroups(7))
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case fields[1] != "":
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			limits = append(limits, number(read(root, mount, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limits
}

// total reads the memory of the machine, where the system tells it.
func total(root string) int64 {
	for line := range strings.SplitSeq(read(root, "proc/meminfo"), "\n") {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return number(strings.TrimSuffix(rest, "kB")) << 10
		}
	}
	return 0
}

// read returns what is in a file, "" when it cannot be read.
func read(parts ...string) string {
	b, err := os.ReadFile(path.Join(parts...))
	if err != nil {
		return ""
	}
	return string(b)
}

// number returns 0 for what is no number, such as "max".
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// processes are those of one server, by id.
type processes []int

// cpu returns the CPU time, of user and system, that the processes have taken so far. It asks the kernel's clock of each
// process, which counts what /proc/PID/stat counts, in nanoseconds rather than in ticks of ten milliseconds.
func (p processes) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p {
		var ts unix.Timespec
		if err := unix.ClockGettime(cpuClock(pid), &ts); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// cpuClock is clock_getcpuclockid(3): the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
func cpuClock(pid int) int32 { return ^int32(pid)<<3 | 2 }

// pss returns the processes' memory, in bytes: each page that several share is counted in parts.
func (p processes) pss() (int64, error) { return p.sum("smaps_rollup", "Pss:") }

// rss and peakRSS return the processes' resident memory, in bytes: now, and the highest since resetPeak.
func (p processes) rss() (int64, error)     { return p.sum("status", "VmRSS:") }
func (p processes) peakRSS() (int64, error) { return p.sum("status", "VmHWM:") }

// resetPeak begins a new measurement of peakRSS: proc(5), clear_refs.
func (p processes) resetPeak() error {
	for _, pid := range p {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// sum adds up a field, in kB, of a file in /proc.
func (p processes) sum(file, field string) (int64, error) {
	var sum int64
	for _, pid := range p {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			return 0, err
		}
		kb, ok := fieldOf(text, field)
		if !ok {
			return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, field)
		}
		sum += kb << 10
	}
	return sum, nil
}

// fieldOf returns the number after a field's name.
func fieldOf(text []byte, field string) (int64, bool) {
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) < 2 || string(words[0]) != field {
			continue
		}
		n, err := strconv.ParseInt(string(words[1]), 10, 64)
		return n, err == nil
	}
	return 0, false
}

package memory

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	meminfo := "MemTotal:       1000000 kB\nMemFree: 5 kB\n"
	for name, test := range map[string]struct {
		files   map[string]string
		goLimit int64
		want    int64
	}{
		"nothing is known":    {nil, math.MaxInt64, 0},
		"the machine":         {map[string]string{"proc/meminfo": meminfo}, math.MaxInt64, 1000000 << 10},
		"GOMEMLIMIT":          {map[string]string{"proc/meminfo": meminfo}, 5000, 5000},
		"GOMEMLIMIT is large": {map[string]string{"proc/meminfo": meminfo}, 1 << 50, 1000000 << 10},
		"a group of version 2": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "7000\n",
		}, math.MaxInt64, 7000},
		"in a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8000\n",
		}, math.MaxInt64, 8000},
		"a group of version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "4:cpu,cpuacct:/x\n3:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n", "sys/fs/cgroup/x/memory.max": "1",
		}, math.MaxInt64, 9000},
		"a group without limit": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, math.MaxInt64, 1000000 << 10},
		"nonsense": {map[string]string{"proc/meminfo": "MemTotal: many\n", "proc/self/cgroup": "::\n0:\n"}, math.MaxInt64, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for file, text := range test.files {
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := limit(root, test.goLimit); got != test.want {
				t.Errorf("limit = %d, want %d", got, test.want)
			}
		})
	}
	if Limit() < 0 {
		t.Error("Limit is negative")
	}
}

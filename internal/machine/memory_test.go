package machine

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// What is available is what the machine has free, or less where a control group around this process limits
// it; of what a group holds, pages of files can be taken back.
func TestMemoryOfMachines(t *testing.T) {
	const meminfo = "MemTotal:       24000000 kB\nMemFree:        1 kB\nMemAvailable:   20000000 kB\n"
	const total, available = 24_000_000 << 10, 20_000_000 << 10
	for name, c := range map[string]struct {
		files map[string]string
		want  Memory
	}{
		"not Linux": {nil, Memory{}},
		"old Linux": {
			map[string]string{"proc/meminfo": "MemTotal:  24000000 kB\n"},
			Memory{Total: total},
		},
		"no groups": {map[string]string{"proc/meminfo": meminfo}, Memory{total, available, 0}},
		"not limited": {map[string]string{
			"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "max\n",
		}, Memory{total, available, 0}},
		"container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "8000000000\n", "sys/fs/cgroup/memory.current": "3000000000\n",
			"sys/fs/cgroup/memory.stat": "anon 500000000\nfile 2500000000\ninactive_file " +
				"1500000000\nactive_file 900000000\n",
		}, Memory{total, 7_400_000_000, 8_000_000_000}},
		"container that tells no use": {map[string]string{
			"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "8000000000\n",
		}, Memory{total, 8_000_000_000, 8_000_000_000}},
		"full container": {map[string]string{
			"proc/meminfo":             meminfo,
			"sys/fs/cgroup/memory.max": "8000000000\n", "sys/fs/cgroup/memory.current": "8000000001\n",
		}, Memory{total, 1, 8_000_000_000}},
		"limit beyond what the machine has": {map[string]string{
			"proc/meminfo":             meminfo,
			"sys/fs/cgroup/memory.max": "80000000000\n", "sys/fs/cgroup/memory.current": "1000\n",
		}, Memory{total, available, 80_000_000_000}},
		"groups in groups": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "1:name=systemd:/other\n0::/batch/job/step\n",
			"sys/fs/cgroup/batch/memory.max":          "9000000000\n",
			"sys/fs/cgroup/batch/memory.current":      "8000000000\n",
			"sys/fs/cgroup/batch/job/memory.max":      "5000000000\n",
			"sys/fs/cgroup/batch/job/memory.current":  "1000000000\n",
			"sys/fs/cgroup/batch/job/step/memory.max": "max\n",
			"sys/fs/cgroup/other/memory.max":          "1000\n",
		}, Memory{total, 1_000_000_000, 5_000_000_000}},
		"group that leaves the tree": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../proc\n", "proc/memory.max": "1000\n",
		}, Memory{total, available, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range c.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			require.Equal(t, c.want, memoryIn(root))
		})
	}
}

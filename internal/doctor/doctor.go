// Package doctor finds out what this machine can do for phi3, and what is missing.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/hub"
	"phi3/internal/machine"
	"phi3/internal/show"
)

// Finding is the result of one check.
type Finding struct {
	About  string `json:"about"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Hint   string `json:"hint,omitempty"`
}

// Status is the verdict on one thing.
type Status string

// The verdicts.
const (
	OK      Status = "ok"
	Missing Status = "missing" // phi3 does without it
	Broken  Status = "broken"
)

// Findings checks the processor, the memory, the GPUs and the cache of downloaded models.
func Findings(m machine.Memory, devices func() ([]cuda.DeviceInfo, error)) []Finding {
	list := append([]Finding{processor(), memory(m)}, gpus(devices)...)
	return append(list, cache())
}

// Verdict returns an error if something is broken.
func Verdict(findings []Finding) error {
	for _, f := range findings {
		if f.Status == Broken {
			return fmt.Errorf("%s: %s", f.About, f.Found)
		}
	}
	return nil
}

func processor() Finding {
	f := Finding{About: "CPU", Status: OK}
	names, chosen, err := cpu.Paths()
	if err != nil {
		f.Status, f.Found, f.Hint = Broken, err.Error(), "unset PHI3_CPU to run the best one"
		return f
	}
	name := machine.Processor()
	if name == "" {
		name = runtime.GOARCH
	}
	f.Found = fmt.Sprintf("%s, %d threads; runs %s", name, runtime.GOMAXPROCS(0), chosen)
	if len(names) > 1 {
		f.Found += fmt.Sprintf(" of %s", strings.Join(names, ", "))
	}
	switch {
	case len(names) == 1:
		f.Hint = "plain Go only: this processor has none of the vector instructions that phi3 has loops " +
			"for, which makes it about ten times slower"
	case chosen != names[0]:
		f.Hint = "PHI3_CPU asks for this; without it, " + names[0] + " would run"
	}
	return f
}

// miniBytes is what a Phi-3-mini, the smallest of Microsoft's models, takes in memory: 7.64 GB of weights,
// 0.4 GB of KV cache for a thousand tokens, and 0.1 GB of workspace.
const miniBytes = 8_200_000_000

func memory(m machine.Memory) Finding {
	f := Finding{About: "memory", Status: OK}
	if m.Total == 0 {
		f.Status, f.Found = Missing, "unknown on "+runtime.GOOS
		return f
	}
	f.Found = fmt.Sprintf("%s, %s of it available", show.Bytes(m.Total), show.Bytes(m.Available))
	room := m.Total
	if m.Limit > 0 && m.Limit < room {
		room = m.Limit
		f.Found += fmt.Sprintf("; this process may have %s", show.Bytes(room))
	}
	if room < miniBytes {
		f.Hint = "a Phi-3-mini in 16 bits takes about 8 GB on the CPU; with less, its weights are read " +
			"from the disk again for every token"
	}
	return f
}

// gpus lists the GPUs, or says why there is none.
func gpus(list func() ([]cuda.DeviceInfo, error)) []Finding {
	devices, err := list()
	if err != nil {
		f := Finding{About: "GPU", Status: Broken, Found: err.Error()}
		if errors.Is(err, cuda.ErrUnavailable) {
			f.Status, f.Hint = Missing, "phi3 runs on the CPU; an NVIDIA GPU needs compute "+
				"capability 8.0 or newer, and driver 520.61 or newer"
			if _, err := os.Stat("/proc/driver/nvidia/version"); err == nil {
				f.Hint = "the kernel has NVIDIA's driver, but its library is missing here: start the " +
					"container with --gpus all"
			}
		}
		return []Finding{f}
	}
	var found []Finding
	for _, d := range devices {
		f := Finding{
			About: fmt.Sprintf("GPU %d", d.Index), Status: OK,
			Hint: "phi3 verify --device cuda checks its results",
		}
		if d.Index > 0 {
			f.Hint = fmt.Sprintf("phi3 verify --device cuda:%d checks its results", d.Index)
		}
		f.Found = fmt.Sprintf("%s, compute capability %d.%d, %s", d.Name, d.Major, d.Minor,
			show.Bytes(d.Memory))
		if d.Major < cuda.MinMajor {
			f.Status = Missing
			f.Hint = fmt.Sprintf("too old: phi3 needs compute capability %d.0 or newer", cuda.MinMajor)
		}
		found = append(found, f)
	}
	return found
}

// cache looks at the directory that models are downloaded to.
func cache() Finding {
	f := Finding{About: "cache", Status: Broken}
	h, err := hub.New(os.Getenv)
	if err != nil {
		f.Found = err.Error()
		return f
	}
	models, err := h.Models()
	if err != nil {
		f.Found = err.Error()
		return f
	}
	if err := writable(h.Cache); err != nil {
		f.Found, f.Hint = err.Error(), "set HF_HOME to another directory for downloads; models in this "+
			"one still run"
		return f
	}
	names := map[string]bool{} // a model may be there in several revisions
	for _, m := range models {
		names[m.Name] = true
	}
	f.Status, f.Found = OK, fmt.Sprintf("%s, %d models", h.Cache, len(names))
	free, known := h.Free()
	if known {
		f.Found += fmt.Sprintf(", %s free", show.Bytes(free))
	}
	switch {
	case known && free < miniBytes:
		f.Hint = "too little for a Phi-3-mini (7.6 GB); set HF_HOME to a directory on another disk"
	case len(models) == 0:
		f.Hint = "phi3 pull " + hub.ExampleName + " downloads a model"
	}
	return f
}

// writable tries to make a file in a directory. A directory that does not exist is made by the first
// download.
func writable(dir string) error {
	file, err := os.CreateTemp(dir, ".phi3-doctor-*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written to: %w", dir, err)
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

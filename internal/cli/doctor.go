package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/hub"
	"phi3/internal/show"
)

// cudaDevices is a variable so that tests can put another machine in place of this one.
var cudaDevices = cuda.Devices

func newDoctor(s *streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine can do for phi3, and what is missing",
		Long: `Look at the processor, the memory and the GPUs of this machine and at the cache of
downloaded models, and say what phi3 can do with them, with a hint for each thing that
is missing. It fails only if something is broken. Run "phi3 verify" to check a GPU's results.`,
		Example: `  phi3 doctor`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			d := diagnosis{Version: version(), Findings: []finding{processor(), memory(readMemory())}}
			d.Findings = append(append(d.Findings, gpus()...), cache())
			if asJSON {
				if err := writeJSON(s.out, d); err != nil {
					return err
				}
			} else if err := d.write(s.out); err != nil {
				return err
			}
			return d.verdict()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as one JSON object")
	return cmd
}

// diagnosis is the answer of --json.
type diagnosis struct {
	Version  string    `json:"version"`
	Findings []finding `json:"findings"`
}

// finding is one thing that was looked at.
type finding struct {
	About  string `json:"about"`
	Status status `json:"status"`
	Found  string `json:"found"`
	Hint   string `json:"hint,omitempty"`
}

type status string

const (
	statusOK      status = "ok"
	statusMissing status = "missing" // phi3 does without
	statusBroken  status = "broken"
)

func (d *diagnosis) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString(d.Version + "\n\n")
	var rows [][]string
	for _, f := range d.Findings {
		rows = append(rows, []string{string(f.Status), f.About, f.Found})
		if f.Hint != "" {
			rows = append(rows, []string{"", "", "→ " + f.Hint})
		}
	}
	b.WriteString(show.Table(rows))
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *diagnosis) verdict() error {
	for _, f := range d.Findings {
		if f.Status == statusBroken {
			return fmt.Errorf("%s: %s", f.About, f.Found)
		}
	}
	return nil
}

func processor() finding {
	f := finding{About: "CPU", Status: statusOK}
	names, chosen, err := cpu.Paths()
	if err != nil {
		f.Status, f.Found, f.Hint = statusBroken, err.Error(), "unset PHI3_CPU to run the best one"
		return f
	}
	name := field(os.DirFS("/"), "proc/cpuinfo", "model name")
	if name == "" {
		name = runtime.GOARCH
	}
	f.Found = fmt.Sprintf("%s, %d threads; runs %s", name, runtime.GOMAXPROCS(0), chosen)
	if len(names) > 1 {
		f.Found += fmt.Sprintf(" of %s", strings.Join(names, ", "))
	}
	switch {
	case len(names) == 1:
		f.Hint = "plain Go alone: this processor has none of the vector instructions that phi3 has loops " +
			"for, and is some ten times slower for it"
	case chosen != names[0]:
		f.Hint = "PHI3_CPU asks for this; without it, " + names[0] + " would run"
	}
	return f
}

// miniBytes is what the smallest of Microsoft's models, a Phi-3-mini, takes: weights of 7.64 GB, and in
// memory a KV cache of a thousand tokens (0.4 GB) and 0.1 GB.
const miniBytes = 8_200_000_000

func memory(m machineMemory) finding {
	f := finding{About: "memory", Status: statusOK}
	if m.total == 0 {
		f.Status, f.Found = statusMissing, "unknown on "+runtime.GOOS
		return f
	}
	f.Found = fmt.Sprintf("%s, %s of it available", show.Bytes(m.total), show.Bytes(m.available))
	room := m.total
	if m.limit > 0 && m.limit < room {
		room = m.limit
		f.Found += fmt.Sprintf("; this process may have %s", show.Bytes(room))
	}
	if room < miniBytes {
		f.Hint = "a Phi-3-mini in 16 bits takes about 8 GB on the CPU; with less, its weights come from " +
			"the disk again for every token"
	}
	return f
}

// gpus finds the GPUs, or why there is none.
func gpus() []finding {
	devices, err := cudaDevices()
	if err != nil {
		f := finding{About: "GPU", Status: statusBroken, Found: err.Error()}
		if errors.Is(err, cuda.ErrUnavailable) {
			f.Status, f.Hint = statusMissing, "phi3 runs on the CPU; with an NVIDIA GPU of compute "+
				"capability 8.0 or newer and a driver from 520.61 on, it runs there"
			if _, err := os.Stat("/proc/driver/nvidia/version"); err == nil {
				f.Hint = "the kernel has NVIDIA's driver, so its library is what is missing here: a " +
					"container has to be started with --gpus all"
			}
		}
		return []finding{f}
	}
	var list []finding
	for _, d := range devices {
		f := finding{
			About: fmt.Sprintf("GPU %d", d.Index), Status: statusOK,
			Hint: "phi3 verify --device cuda checks its results",
		}
		if d.Index > 0 {
			f.Hint = fmt.Sprintf("phi3 verify --device cuda:%d checks its results", d.Index)
		}
		f.Found = fmt.Sprintf("%s, compute capability %d.%d, %s", d.Name, d.Major, d.Minor,
			show.Bytes(d.Memory))
		if d.Major < cuda.MinMajor {
			f.Status, f.Hint = statusMissing, fmt.Sprintf("too old: phi3 needs compute capability %d.0 or newer", cuda.MinMajor)
		}
		list = append(list, f)
	}
	return list
}

// cache looks at where models are downloaded to.
func cache() finding {
	f := finding{About: "cache", Status: statusBroken}
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
		f.Found, f.Hint = err.Error(), "HF_HOME names another place for downloads; what is there can be "+
			"run all the same"
		return f
	}
	names := map[string]bool{} // a model may be there in several revisions
	for _, m := range models {
		names[m.Name] = true
	}
	f.Status, f.Found = statusOK, fmt.Sprintf("%s, %d models", h.Cache, len(names))
	free, known := h.Free()
	if known {
		f.Found += fmt.Sprintf(", %s free", show.Bytes(free))
	}
	switch {
	case known && free < miniBytes:
		f.Hint = "too little for a Phi-3-mini (7.6 GB); HF_HOME names another place"
	case len(models) == 0:
		f.Hint = "phi3 pull microsoft/Phi-3-mini-4k-instruct downloads a model"
	}
	return f
}

// writable tries to make a file in a directory. One that does not exist is made when it is needed.
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

package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/model"
)

// Variables so that tests can put another machine in place of this one.
var (
	openCUDA       = cuda.Open
	cudaFreeMemory = cuda.FreeMemory
)

// A GPU takes many tokens a step without keeping Ctrl-C waiting: this many take it about a tenth of a second.
const cudaMaxTokens = 2048

// device is where --device wants the model to run.
type device struct {
	name  string // auto, cpu or cuda
	index int    // of the GPU
	flag  string // as it was given
}

func parseDevice(s string) (device, error) {
	switch s {
	case "auto", "cpu", "cuda":
		return device{name: s, flag: s}, nil
	}
	if number, ok := strings.CutPrefix(s, "cuda:"); ok {
		if index, err := strconv.ParseUint(number, 10, 16); err == nil {
			return device{"cuda", int(index), s}, nil
		}
	}
	return device{}, usagef("--device is %q, not auto, cpu, cuda or cuda:N with the number of a GPU", s)
}

// open makes the backend, and says on stderr when there is no GPU for auto. maxTokens suits it, in the sense of [model.Options].
func (d device) open(threads int, float32 bool, stderr io.Writer) (b model.Backend, maxTokens int, err error) {
	if d.name != "cpu" {
		b, err = openCUDA(cuda.Options{Device: d.index, Float32: float32})
		if err == nil {
			return b, cudaMaxTokens, nil
		}
		if d.name == "cuda" || !errors.Is(err, cuda.ErrUnavailable) { // a GPU that is there and fails is no reason to be slow silently
			return nil, 0, fmt.Errorf("--device %s: %w", d.flag, err)
		}
		_, _ = fmt.Fprintf(stderr, "running on the CPU: %v\n", err)
	}
	onCPU, err := cpu.New(cpu.Options{Threads: threads, Float32: float32, Memory: readMemory().available})
	if err != nil {
		return nil, 0, err
	}
	return onCPU, onCPU.MaxTokens(), nil
}

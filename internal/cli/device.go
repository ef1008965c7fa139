package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/cuda"
	"phi3/internal/machine"
	"phi3/internal/model"
	"phi3/internal/show"
)

// Variables so that tests can put another machine in place of this one.
var (
	openCUDA       = cuda.Open
	cudaFreeMemory = cuda.FreeMemory
	readMemory     = machine.ReadMemory
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

// openGPU opens the GPU.
func (d device) openGPU(float32 bool, s *streams) (model.Backend, error) {
	b, err := openCUDA(cuda.Options{Device: d.index, Float32: float32, Compiling: noteCompiling(s)})
	if err != nil {
		return nil, fmt.Errorf("--device %s: %w", d.flag, err)
	}
	writeKernelCode(s.details(), b)
	return b, nil
}

// noteCompiling tells the user why the first start takes longer, see [cuda.Options].
func noteCompiling(s *streams) func() {
	return func() {
		_, _ = show.Fprintln(s.notes(), "compiling the kernels for this GPU: the driver does this once and "+
			"keeps the result")
	}
}

// writeKernelCode says in which form the GPU got its kernels.
func writeKernelCode(w io.Writer, b model.Backend) {
	gpu, ok := b.(interface{ KernelCode() cuda.KernelCode })
	if !ok {
		return
	}
	code := gpu.KernelCode()
	_, _ = show.Fprintf(w, "kernels: %s, loaded in %.2f s\n", code, code.Took.Seconds())
	if code.Refused != nil {
		_, _ = show.Fprintf(w, "kernels: the driver refused the native code: %v\n", code.Refused)
	}
}

// Package device chooses the device that runs a model, as the flag --device says, and loads the model there.
package device

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/cuda"
	"phi3/internal/model"
	"phi3/internal/show"
)

// Device is a value of --device.
type Device struct {
	Kind  string // auto, cpu or cuda
	Index int    // of the GPU
	Flag  string // the value as it was given
}

// Parse reads a value of --device.
func Parse(s string) (Device, error) {
	switch s {
	case "auto", "cpu", "cuda":
		return Device{Kind: s, Flag: s}, nil
	}
	if number, ok := strings.CutPrefix(s, "cuda:"); ok {
		if index, err := strconv.ParseUint(number, 10, 16); err == nil {
			return Device{"cuda", int(index), s}, nil
		}
	}
	return Device{}, fmt.Errorf("--device is %q, not auto, cpu, cuda or cuda:N with the number of a GPU", s)
}

// OpenGPU opens the GPU that d names; for auto, the first one.
func (d Device) OpenGPU(o *Options) (model.Backend, error) {
	b, err := o.OpenGPU(cuda.Options{Device: d.Index, Float32: o.Float32, Compiling: NoteCompiling(o.Notes)})
	if err != nil {
		return nil, fmt.Errorf("--device %s: %w", d.Flag, err)
	}
	writeKernelCode(o.Details, b)
	return b, nil
}

// NoteCompiling returns a function that tells the user why the first start takes longer, see [cuda.Options].
func NoteCompiling(w io.Writer) func() {
	return func() {
		_, _ = show.Fprintln(w, "compiling the kernels for this GPU: the driver does this once and keeps "+
			"the result")
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
	if code.OverlapRefused != nil {
		_, _ = show.Fprintf(w, "kernels: the driver refused graphs of overlapping launches: %v\n",
			code.OverlapRefused)
	}
}

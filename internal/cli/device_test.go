package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/machine"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// fakeCUDA replaces the CUDA backend by the machine that $FAKE_GPU describes: no GPU, a good or a broken one,
// one that loads or computes slowly or never answers, one that is "limited" to the models that CUDA supports,
// or one with the given number of bytes of free memory. With "no", the real CUDA backend is used.
func fakeCUDA(o cuda.Options) (model.Backend, error) {
	kind := os.Getenv("FAKE_GPU")
	switch {
	case kind == "no":
		return cuda.Open(o)
	case kind == "":
		return nil, fmt.Errorf("%w: no NVIDIA driver", cuda.ErrUnavailable)
	case kind == "broken":
		return nil, errors.New("CUDA device 0, Fake: out of memory")
	case o.Device > 0:
		return nil, fmt.Errorf("there is no GPU %d, only 0 (Fake, 2.0 GB)", o.Device)
	case kind == "slow":
		fmt.Fprintln(os.Stderr, "opened a slow GPU")
	}
	b, err := cpu.New(cpu.Options{Float32: o.Float32})
	return fakeGPU{b, kind}, err
}

// fakeSelfTest returns the results of two kernels of that machine's GPU. On a "wrong" GPU, the results of one
// are wrong, and those of the other differ.
func fakeSelfTest(
	ctx context.Context, o cuda.Options, onResult func(cuda.KernelResult) error,
) (*cuda.SelfTestReport, error) {
	kind := os.Getenv("FAKE_GPU")
	if kind == "no" {
		return cuda.SelfTest(ctx, o, onResult)
	}
	if _, err := fakeCUDA(o); err != nil {
		return nil, err
	}
	r := &cuda.SelfTestReport{
		Card: "Fake", Driver: "550.54.15", CUDA: "12.4", Compute: "9.0", Sums: "sm_90", Code: "PTX",
		Seconds: 1.5, Passed: kind != "wrong",
		Kernels: []cuda.KernelResult{
			{
				Kernel: "embed", Verdict: cuda.VerdictExact, Variants: []string{"5×7", "33×64"},
				Against: "the table's rows", Values: 70,
			},
			{
				Kernel: "linear_decode_bf16", Verdict: cuda.VerdictExact, Variants: []string{"1×1×8"},
				Against: "float64", Values: 9, Worst: 0.0191,
			},
		},
	}
	if kind == "wrong" {
		r.Kernels[0].Verdict, r.Kernels[0].Note = cuda.VerdictFail, "5×7: 1 of 70 values are not\nthe rows "+
			"asked for"
		r.Kernels[1].Verdict, r.Kernels[1].Note = cuda.VerdictDiffers, "results are right, but differ"
	}
	for _, k := range r.Kernels {
		if onResult == nil {
			break
		}
		if err := onResult(k); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// fakeDevices lists the GPUs of that machine.
func fakeDevices() ([]cuda.DeviceInfo, error) {
	fake := cuda.DeviceInfo{Name: "Fake", Major: 9, Memory: 80_000_000_000}
	switch kind := os.Getenv("FAKE_GPU"); kind {
	case "no":
		return cuda.Devices()
	case "":
		return nil, fmt.Errorf("%w: no NVIDIA driver", cuda.ErrUnavailable)
	case "broken":
		return nil, errors.New("properties of CUDA device 0: unknown error")
	case "two":
		return []cuda.DeviceInfo{fake, {
			Index: 1, Name: "Old", Major: 7, Minor: 5,
			Memory: 16_000_000_000,
		}}, nil
	default:
		return []cuda.DeviceInfo{fake}, nil
	}
}

// fakeGPU is the CPU backend under another name.
type fakeGPU struct {
	*cpu.Backend
	kind string
}

func (g fakeGPU) Name() string { return "a fake GPU" }

func (g fakeGPU) Upload(t *weight.Tensor) (model.Weight, error) {
	switch g.kind { // × 27 tensors
	case "slow":
		time.Sleep(100 * time.Millisecond)
	case "slower":
		time.Sleep(400 * time.Millisecond)
	}
	return g.Backend.Upload(t)
}

func (g fakeGPU) Begin(step *model.Step) {
	if g.kind == "thoughtful" && len(step.IDs) > 8 {
		time.Sleep(400 * time.Millisecond) // a step of a prompt
	}
	g.Backend.Begin(step)
}

func (g fakeGPU) Argmax(next []int32, logits model.Matrix) error {
	if g.kind == "stuck" {
		time.Sleep(time.Hour)
	}
	if g.kind == "thoughtful" {
		time.Sleep(50 * time.Millisecond) // a token
	}
	return g.Backend.Argmax(next, logits)
}

func (g fakeGPU) Plan(p *model.Plan) error {
	if most := min(2048, p.Context); p.MaxTokens != most {
		return fmt.Errorf("a GPU can take %d tokens in a step, not %d", most, p.MaxTokens)
	}
	if err := cuda.Supports(p.Config, cuda.Options{}); err != nil && g.kind == "limited" {
		return err
	}
	if free, ok := g.free(); ok {
		if err := cuda.Fit(p, cuda.Options{}, free); err != nil {
			return fmt.Errorf("Fake: %w", err)
		}
	}
	return g.Backend.Plan(p)
}

// free returns the free memory of a GPU whose kind is a number of bytes.
func (g fakeGPU) free() (int64, bool) {
	n, err := strconv.ParseInt(g.kind, 10, 64)
	return n, err == nil
}

// fakeFreeMemory returns the free memory of the GPU.
func fakeFreeMemory(index int) (int64, error) {
	g := fakeGPU{kind: os.Getenv("FAKE_GPU")}
	switch free, ok := g.free(); {
	case ok:
		return free, nil
	case g.kind == "no":
		return cuda.FreeMemory(index)
	case g.kind == "":
		return 0, fmt.Errorf("%w: no NVIDIA driver", cuda.ErrUnavailable)
	}
	return 60_000_000_000, nil
}

// fakeMemory returns this machine's memory or, if $FAKE_MEMORY is set, that many available bytes, or
// "unknown".
func fakeMemory() machine.Memory {
	if os.Getenv("FAKE_MEMORY") == "unknown" {
		return machine.Memory{}
	}
	if n, err := strconv.ParseInt(os.Getenv("FAKE_MEMORY"), 10, 64); err == nil {
		return machine.Memory{Total: 2 * n, Available: n}
	}
	return machine.ReadMemory()
}

// fakeDisk returns the free space of the disk or, if $FAKE_DISK is set, that many bytes.
func fakeDisk(dir string) (int64, bool) {
	if n, err := strconv.ParseInt(os.Getenv("FAKE_DISK"), 10, 64); err == nil {
		return n, true
	}
	return machine.FreeDisk(dir)
}

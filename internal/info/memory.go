package info

import (
	"errors"
	"fmt"
	"strings"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/weight"
)

// Memory is what the model takes, in bytes, for the context and the type of [Options].
type Memory struct {
	Context    int      `json:"ctx_size"`
	DType      string   `json:"dtype"`
	KVPerToken int64    `json:"kv_bytes_per_token"`
	Devices    []Device `json:"devices"`
	Cards      *Cards   `json:"cards,omitempty"` // absent if no GPU runs the model
}

// Device is what the model takes on one device, in bytes.
type Device struct {
	Device    string `json:"device"` // cpu or cuda
	Weights   int64  `json:"weights"`
	KV        int64  `json:"kv"`
	Workspace int64  `json:"workspace"`
	Total     int64  `json:"total"`
	Refused   string `json:"refused,omitempty"` // why the model cannot run there
	Free      *int64 `json:"free,omitempty"`    // absent: not known, or this machine has no such device
	Fits      *int   `json:"fits,omitempty"`    // tokens of context without --ctx-size; 0: none fits
	unknown   string // why Free is not known
	short     string // what happens if Fits is 0
}

// memory asks each backend how much memory the model takes, and how much context fits in the free memory.
func memory(c *model.Config, tensors []*weight.Tensor, o Options) (Memory, error) {
	plan := func(context, maxTokens int) *model.Plan {
		return model.NewPlan(c, tensors, model.Options{Context: context, MaxTokens: maxTokens})
	}
	onCPU, err := cpuMemory(plan, o)
	if err != nil {
		return Memory{}, err
	}
	m := Memory{
		Context: plan(o.Context, 1).Context, DType: "bf16", KVPerToken: c.KVBytesPerToken(2),
		Devices: []Device{onCPU, gpuMemory(c, plan, o)},
	}
	if o.Float32 {
		m.DType, m.KVPerToken = "f32", c.KVBytesPerToken(4)
	}
	if gpu := (cuda.Options{Float32: o.Float32}); cuda.Supports(c, gpu) == nil {
		m.Cards, err = newCards(c, tensors, o.Weights, gpu)
	}
	return m, err
}

func cpuMemory(plan func(context, maxTokens int) *model.Plan, o Options) (Device, error) {
	maxTokens, err := cpu.MaxTokens()
	if err != nil {
		return Device{}, err
	}
	options := cpu.Options{Float32: o.Float32}
	d := newDevice("cpu", cpu.PlanMemory(plan(o.Context, maxTokens), options))
	if o.FreeMemory == 0 {
		d.unknown = "the system does not tell how much memory is free"
		return d, nil
	}
	fitted := plan(0, maxTokens)
	cpu.Fit(fitted, options, o.FreeMemory)
	d.fit(o.FreeMemory, fitted)
	d.short = fmt.Sprintf("%s tokens, slowly: the model does not fit", show.Thousands(int64(fitted.Context)))
	return d, nil
}

func gpuMemory(c *model.Config, plan func(context, maxTokens int) *model.Plan, o Options) Device {
	options := cuda.Options{Float32: o.Float32}
	d := newDevice("cuda", cuda.PlanMemory(plan(o.Context, cuda.MaxTokens), options))
	if refused := cuda.Supports(c, options); refused != nil {
		d.Refused = refused.Error() + o.Advice(refused)
	}
	free, err := o.FreeGPUMemory()
	if err != nil {
		d.unknown = err.Error()
		return d
	}
	fitted := plan(0, cuda.MaxTokens)
	if err := cuda.Fit(fitted, options, free); errors.As(err, new(*cuda.TooLittleError)) {
		least := show.Thousands(int64(fitted.Context))
		d.short = fmt.Sprintf("not even %s tokens fit%s", least, o.Advice(err))
	}
	d.fit(free, fitted)
	return d
}

func newDevice(device string, need model.Memory) Device {
	return Device{
		Device: device, Weights: need.Weights, KV: need.KV, Workspace: need.Workspace, Total: need.Total(),
	}
}

// fit sets how much context fits in the free memory. fitted is a plan that was made for that much memory.
func (d *Device) fit(free int64, fitted *model.Plan) {
	d.Free, d.Fits = &free, new(int)
	switch {
	case d.Refused != "":
		d.short = "none"
	case !fitted.Short:
		*d.Fits = fitted.Context
	}
}

// describe returns two tables: what the context takes, and how much context fits in the free memory.
func (m *Memory) describe() string {
	var b strings.Builder
	show.Fprintf(&b, "memory for a context of %s tokens (--ctx-size) in %s (--dtype):\n\n",
		show.Thousands(int64(m.Context)), m.DType)
	takes := [][]string{{"", "weights", "KV cache", "workspace", "total"}}
	fits := [][]string{{"", "free memory", "context"}}
	var remarks []string
	for _, d := range m.Devices {
		row := []string{d.Device}
		for _, bytes := range []int64{d.Weights, d.KV, d.Workspace, d.Total} {
			row = append(row, show.Bytes(bytes))
		}
		takes = append(takes, row)
		free, context := "–", d.unknown
		if d.Free != nil {
			free, context = show.Bytes(*d.Free), d.short
			if *d.Fits > 0 {
				context = show.Thousands(int64(*d.Fits)) + " tokens"
			}
		}
		fits = append(fits, []string{d.Device, free, context})
		if d.Refused != "" {
			remarks = append(remarks, show.Sprintf("Not on %s: %s.\n", d.Device, d.Refused))
		}
	}
	b.WriteString(show.Table(takes, 1, 2, 3, 4))
	show.Fprintf(&b, "\nEvery token of context takes %s. ", show.Bytes(m.KVPerToken))
	b.WriteString("On the CPU, weights are shared pages of the files, and the KV cache grows as it fills.\n")
	b.WriteString("\nWithout --ctx-size, the context is the longest that fits in the free memory " +
		"now:\n\n")
	b.WriteString(show.Table(fits, 1))
	if len(remarks) > 0 {
		b.WriteString("\n" + strings.Join(remarks, ""))
	}
	if m.Cards != nil {
		b.WriteString(m.Cards.describe())
	}
	return b.String()
}

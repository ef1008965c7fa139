//go:build cuda && linux && cgo

package cuda

import (
	"errors"

	"phi3/internal/model"
)

// Plan implements [model.Backend]. It allocates the matrices, the workspace and the KV cache, for as much
// context as the plan wants and as fits. It allocates nothing if there is too little memory for these and
// the weights.
func (b *Backend) Plan(plan *model.Plan) error {
	c := plan.Config
	if err := Supports(c, Options{Float32: b.float32}); err != nil {
		return err
	}
	b.config = c
	b.kvBlockElems = kvBlockElems(c)
	shape := shapeOf(c)

	return b.do(func() (err error) {
		if b.kernels.attention, err = b.device.loadAttentionKernels(b.kernels.module, shape,
			b.inputType()); err != nil {
			return err
		}
		if err := b.kernels.countResident(b.device, c.HiddenSize); err != nil {
			return err
		}
		free, _, err := b.device.memInfo()
		if err != nil {
			return err
		}
		p, err := fit(plan, b.float32, free)
		if err != nil {
			return err
		}
		b.kvBlocks, b.stepLimits = plan.Blocks(), p.stepLimits
		b.graphs.most = graphsOf(plan)
		for _, a := range []struct {
			to    *devicePtr
			bytes int
		}{{&b.kv, p.kvBytes}, {&b.partial, p.partial}, {&b.arrived, p.arrived}, {&b.normed, p.normed}} {
			if *a.to, err = b.device.alloc(a.bytes); err != nil {
				return err
			}
		}
		if err := b.device.fill(b.arrived, 0, p.arrived, b.stream); err != nil {
			return err
		}
		for _, m := range plan.Matrices() {
			at, err := b.device.alloc(4 * m.Rows * m.Cols)
			if err != nil {
				return err
			}
			m.Data = &matrix{ptr: at}
		}
		return b.ahead.allocate(b.device, p.stage, p.ids)
	})
}

// FreeMemory is the free memory of a GPU that [Devices] lists, in bytes. [Backend.Plan] finds some MB
// less, because [Open] loads the kernels.
func FreeMemory(index int) (free int64, err error) {
	d, err := openDevice(index)
	if err != nil {
		return 0, err
	}
	err = d.do(func() (err error) {
		free, _, err = d.memInfo()
		return err
	})
	return free, errors.Join(err, d.close())
}

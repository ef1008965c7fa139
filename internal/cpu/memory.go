package cpu

import "phi3/internal/model"

// MaxTokens returns how many new tokens a step should have at most on this processor, see [model.Options].
// The error says why [New] refuses $PHI3_CPU.
func MaxTokens() (int, error) {
	k, err := choosePath()
	if err != nil {
		return 0, err
	}
	return k.maxTokens, nil
}

// PlanMemory returns how much of the machine's memory the plan takes. Of the tensors it reads only the
// formats and the shapes. Weights are pages of the checkpoint's files, which the system shares between
// processes and may drop. Keys and values are allocated as the context fills: KV is the most that they take.
func PlanMemory(p *model.Plan, o Options) model.Memory { return planMemory(p, o, planningPath()) }

func planMemory(p *model.Plan, o Options, k *kernels) model.Memory {
	m := model.Memory{Workspace: k.workspace(p).bytes(k, p.Config, o.threads())}
	for _, t := range p.Tensors {
		m.Weights += t.Bytes()
		if len(t.Shape) == 1 {
			m.Workspace += 4 * int64(t.Elems()) // Upload widens norms
		}
	}
	for _, x := range p.Matrices() {
		m.Workspace += 4 * int64(x.Rows) * int64(x.Cols)
	}
	blocks := int64(p.Blocks())
	m.Workspace += pointerBytes * blocks
	elem := int64(2)
	if o.Float32 {
		elem = 4
	}
	m.KV = blocks * elem * int64(kvBlockElems(p.Config))
	return m
}

// Fit lowers the plan's context to what fits in free bytes of memory, as the backend does. It never refuses a
// plan: see [Backend.Plan].
func Fit(p *model.Plan, o Options, free int64) { fit(p, o, planningPath(), free) }

func fit(p *model.Plan, o Options, k *kernels, free int64) {
	p.Fit(free, func(blocks int) model.Memory {
		shorter := *p
		shorter.Limit(blocks)
		return planMemory(&shorter, o, k)
	})
}

// planningPath returns the path that New chooses. If it chooses none, New and MaxTokens return the error.
func planningPath() *kernels {
	k, err := choosePath()
	if err != nil {
		return goKernels
	}
	return k
}

const pointerBytes = 8

// workspaceSize is the size of what Plan allocates besides matrices, norms, the scratch of attention and the
// cache.
type workspaceSize struct {
	scratch scratchSize // of each worker
	packed  int         // bytes
	normed  int         // float32 values
}

// scratchSize is the size of a worker's memory for matrix products: bytes of packed, bfloat16 values of
// unpacked, float32 values of the others.
type scratchSize struct{ sums, rows, lanes, tail, packed, unpacked int }

// workspace returns the size that is enough for all matrix products of the model.
func (k *kernels) workspace(p *model.Plan) (w workspaceSize) {
	c := p.Config
	widest := max(c.HiddenSize, c.IntermediateSize, c.Heads*c.HeadDim)
	for _, l := range k.allLinear() {
		s := l.scratch(widest, p.MaxTokens)
		w.scratch = scratchSize{
			sums: max(w.scratch.sums, s.sums), rows: max(w.scratch.rows, s.rows),
			lanes: max(w.scratch.lanes, s.lanes), tail: max(w.scratch.tail, s.tail),
			packed: max(w.scratch.packed, s.packed), unpacked: max(w.scratch.unpacked, s.unpacked),
		}
		if l.pack != nil {
			w.packed = max(w.packed, l.packedBytes(p.MaxTokens, widest))
		}
	}
	w.normed = p.MaxTokens * c.HiddenSize
	return w
}

func newScratch(s scratchSize) *scratch {
	return &scratch{
		sums: makeLarge[float32](s.sums), rows: makeLarge[float32](s.rows),
		lanes: makeLarge[float32](s.lanes), tail: makeLarge[float32](s.tail),
		packed: makeLarge[byte](s.packed), unpacked: makeLarge[uint16](s.unpacked),
	}
}

// bytes returns the size of all of it, with the scratch of attention.
func (w workspaceSize) bytes(k *kernels, c *model.Config, threads int) int64 {
	s := w.scratch
	products := int64(4*(s.sums+s.rows+s.lanes+s.tail) + s.packed + 2*s.unpacked)
	worker := products + attentionScratchBytes(k.vectors, c) + pointerBytes
	return int64(threads)*worker + int64(w.packed) + 4*int64(w.normed)
}

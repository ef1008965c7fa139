package engine_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/engine"
	"phi3/internal/model"
)

// device is the CPU with a KV cache of any size, which shows its steps and fails on request.
type device struct {
	model.Backend
	blocks int                   // of the KV cache; 0: as planned
	begin  func(*model.Step)     // called before every step
	fault  atomic.Pointer[error] // what the next Read or Argmax returns
	most   int                   // new tokens of the longest step
}

func (d *device) Plan(p *model.Plan) error {
	if d.blocks > 0 {
		p.Limit(d.blocks)
	}
	return d.Backend.Plan(p)
}

func (d *device) Begin(step *model.Step) {
	d.most = max(d.most, len(step.IDs))
	if d.begin != nil {
		d.begin(step)
	}
	d.Backend.Begin(step)
}

func (d *device) failed() error {
	if err := d.fault.Swap(nil); err != nil {
		return *err
	}
	return nil
}

func (d *device) Read(dst []float32, x model.Matrix) error {
	if err := d.failed(); err != nil {
		return err
	}
	return d.Backend.Read(dst, x)
}

func (d *device) Argmax(next []int32, logits model.Matrix) error {
	if err := d.failed(); err != nil {
		return err
	}
	return d.Backend.Argmax(next, logits)
}

// aheadDevice begins greedy steps ahead, as a GPU does. It computes them at once.
type aheadDevice struct {
	*device
	chosen [][]int32 // of the steps that are ahead, the oldest first; the last one may not be complete
	begun  bool      // StartArgmax has been called in this step
	last   []int32
}

func (d *aheadDevice) Begin(step *model.Step) {
	if len(d.chosen) > 1 || len(d.chosen) == 1 && !step.Chosen || len(d.chosen) == 0 && step.Chosen {
		panic("a step begins where Ahead does not allow it")
	}
	d.begun = false
	if step.Chosen {
		known := *step
		known.IDs = make([]int32, len(d.last))
		for i, id := range d.last {
			known.IDs[i] = max(id, 0) // whatever follows a logit that is not finite
		}
		step = &known
	}
	d.device.Begin(step)
}

func (d *aheadDevice) StartArgmax(logits model.Matrix) {
	if !d.begun {
		d.begun = true
		d.chosen = append(d.chosen, nil)
	}
	next := make([]int32, logits.Rows)
	if err := d.Backend.Argmax(next, logits); err != nil {
		panic(err)
	}
	at := len(d.chosen) - 1
	d.chosen[at] = append(d.chosen[at], next...)
	d.last = d.chosen[at]
}

func (d *aheadDevice) Chosen(next []int32) error {
	copy(next, d.chosen[0])
	d.chosen = d.chosen[1:]
	return d.failed()
}

func newDevice(t testing.TB) *device {
	t.Helper()
	b, err := cpu.New(cpu.Options{Threads: 1})
	require.NoError(t, err)
	return &device{Backend: b}
}

// load puts a checkpoint of testdata on a backend.
func load(t testing.TB, checkpoint string, b model.Backend, o model.Options) *model.Model {
	t.Helper()
	m, err := model.Load(context.Background(), os.DirFS("../../testdata/"+checkpoint), b, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// start starts an engine that is closed, at the latest, when the test ends.
func start(t *testing.T, m *model.Model, o engine.Options) *engine.Engine {
	t.Helper()
	e := engine.New(m, o)
	t.Cleanup(e.Close)
	return e
}

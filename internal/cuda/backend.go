//go:build cuda && linux && cgo

package cuda

import (
	"fmt"

	"gorgonia.org/cu"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// Backend implements [model.Backend]. Verbs only queue launches; Read sends them.
type Backend struct {
	device  *device
	stream  cu.Stream
	kernels *kernelSet
	float32 bool
	failed  bool // an error was reported: after a fault, Close would say the same again

	config     *model.Config
	kvBlocks   int
	maxChunks  int // of keys that a sequence may see
	blockElems int // of a KV block, all layers

	kv      devicePtr // [kvBlocks][layers][2: keys, values][kvHeads][BlockTokens][headDim] of inputType
	normed  devicePtr // [maxTokens, hidden] of inputType: RMSNorm(x)·norm where no kernel makes it by itself
	partial devicePtr // attention's workspace, see AttentionArgs
	arrived devicePtr // likewise

	uploader *uploader // while weights are loaded
	stage    stage     // the step's data for the device
	staged   stagedStep
	scratch  stepScratch
	queue    queue // since the last Read
	graphs   graphs
	readBack *hostMemory

	// What read does on the device's thread: run, on dst and src. A new closure would be garbage for every
	// token.
	run func() error
	dst []byte
	src devicePtr
}

// stagedStep is where the step's data are on the stage.
type stagedStep struct {
	ids       devicePtr
	works     int
	attention attention // but for what differs from layer to layer
}

// stepScratch is host memory to lay a step out in.
type stepScratch struct {
	spans []span
	table []int32
	work  []workItem
}

// matrix is the Data of a model.Matrix: room for float32 values, of which a verb may use half for bfloat16.
type matrix struct {
	ptr  devicePtr
	bf16 bool // what the last verb stored
}

// readBackBytes is how much Read brings back at a time.
const readBackBytes = 4 << 20

// Open makes the backend on one GPU. An error that wraps [ErrUnavailable] means that there is none at all.
func Open(o Options) (model.Backend, error) {
	d, err := openDevice(o.Device)
	if err != nil {
		return nil, err
	}
	b := &Backend{device: d, float32: o.Float32}
	b.run = func() error {
		err := b.sendAndCopy(b.dst, b.src)
		if err != nil {
			// what was sent before the error still reads the stage, which the next step overwrites
			_ = d.sync(b.stream)
		}
		return err
	}
	err = d.do(func() (err error) {
		if b.stream, err = d.newStream(); err != nil {
			return err
		}
		if b.kernels, err = d.loadKernels(o.Compiling); err != nil {
			return err
		}
		b.readBack, err = d.allocHost(readBackBytes)
		return err
	})
	if err != nil {
		_ = d.close() // of the two errors, the first tells what happened
		return nil, err
	}
	return b, nil
}

// Name implements [model.Backend].
func (b *Backend) Name() string {
	name := fmt.Sprintf("%s (CUDA, compute capability %d.%d)", b.device.Name, b.device.Major, b.device.Minor)
	if b.float32 {
		name += ", float32"
	}
	return name
}

// KernelCode says in which form the GPU got its kernels.
func (b *Backend) KernelCode() KernelCode { return b.kernels.code }

// Close implements [model.Backend]. After it, everything that can fail does.
func (b *Backend) Close() error {
	err := b.device.close() // and with it everything that it owns
	if b.failed {
		return nil
	}
	return err
}

// do runs f on the device's thread. Errors name the device.
func (b *Backend) do(f func() error) error {
	if err := b.device.do(f); err != nil {
		b.failed = true
		return fmt.Errorf("%s: %w", b.device.Name, err)
	}
	return nil
}

// Read implements [model.Backend].
func (b *Backend) Read(dst []float32, x model.Matrix) error {
	m := x.Data.(*matrix)
	n := x.Rows * x.Cols
	if !m.bf16 {
		return b.read(bytesOf(dst[:n]), m.ptr)
	}
	bits := make([]uint16, n)
	err := b.read(bytesOf(bits), m.ptr)
	for i, v := range bits {
		dst[i] = weight.FromBF16(v)
	}
	return err
}

// Argmax implements [model.Backend].
func (b *Backend) Argmax(next []int32, logits model.Matrix) error {
	// The ids go where attention's partial sums are: no attention follows before they are read.
	b.kernels.argmax(&b.queue, b.partial, ptr(logits), logits.Rows, logits.Cols)
	return b.read(bytesOf(next[:logits.Rows]), b.partial)
}

// read sends everything queued, waits for it, and copies len(dst) bytes from src.
func (b *Backend) read(dst []byte, src devicePtr) error {
	defer b.sent()
	if b.stage.err != nil {
		return b.stage.err
	}
	b.dst, b.src = dst, src
	return b.do(b.run)
}

// sendAndCopy is read on the device's thread.
func (b *Backend) sendAndCopy(dst []byte, src devicePtr) error {
	if b.uploader != nil {
		if err := b.uploader.finish(); err != nil {
			return err
		}
		b.uploader = nil
	}
	if err := b.send(); err != nil {
		return err
	}
	for {
		n := min(len(dst), readBackBytes)
		if err := b.device.copyToHost(b.readBack.bytes[:n], src, b.stream); err != nil {
			return err
		}
		if err := b.device.sync(b.stream); err != nil {
			return err
		}
		copy(dst, b.readBack.bytes[:n])
		dst, src = dst[n:], src+devicePtr(n)
		if len(dst) == 0 {
			return nil
		}
	}
}

// send puts the stage's data and the queue on the stream. On the device's thread.
func (b *Backend) send() error {
	if n := b.stage.used; n > 0 {
		if err := b.device.copyToDevice(b.stage.device, b.stage.host.bytes[:n], b.stream); err != nil {
			return err
		}
	}
	return b.graphs.run(b.device, b.stream, b.queue)
}

// sent empties the queue after it has been sent. The step's data stay on the stage for the rest of the step.
func (b *Backend) sent() {
	b.queue = b.queue[:0]
	b.stage.used = b.stage.kept
}

// drop empties the queue and the stage.
func (b *Backend) drop() {
	b.queue = b.queue[:0]
	b.stage.used, b.stage.kept, b.stage.err = 0, 0, nil
}

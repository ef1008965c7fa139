//go:build cuda && linux && cgo

package cuda

import (
	"fmt"

	"gorgonia.org/cu"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// Backend implements [model.Backend]. Verbs only queue launches. Read and Argmax send them.
type Backend struct {
	device  *device
	stream  cu.Stream
	kernels *kernelSet
	float32 bool
	failed  bool // an error was reported; Close does not report it again

	config *model.Config
	stepLimits
	kvBlocks     int
	kvBlockElems int // elements of a KV block, all layers

	kv      devicePtr // [kvBlocks][layers][2: keys, values][kvHeads][BlockTokens][headDim] of inputType
	normed  devicePtr // [maxTokens, hidden] of inputType: RMSNorm(x)·norm for products that do not compute it
	partial devicePtr // for attention, see AttentionArgs
	arrived devicePtr // for attention, see AttentionArgs

	uploader *uploader // while weights are loaded
	ahead    ahead
	*turn    // of the current step
	staged   stagedStep
	scratch  stepScratch
	graphs   graphs
	readBack *hostMemory

	// read calls run on the device's thread, with its arguments in dst and src. They are fields, because a
	// new closure for every token would allocate memory.
	run func() error
	dst []byte
	src devicePtr
}

// stagedStep is where the current step's data are on the stage.
type stagedStep struct {
	ids       devicePtr
	attention attention // without the operands that differ between layers, and without work
	// The sequences with few new tokens decode, and the others run as prefill.
	decodeWork, prefillWork devicePtr
	decodeSeqs              int // sequences that decode
	prefillWorks            int // work items of prefill
}

// stepScratch is host memory that stageStep reuses.
type stepScratch struct {
	spans                   []span
	table                   []int32
	decodeWork, prefillWork []workItem
}

// matrix is the Data of a model.Matrix. Its memory fits float32 values; a verb may store bfloat16 in half
// of it.
type matrix struct {
	ptr  devicePtr
	bf16 bool // whether the last verb stored bfloat16
}

// readBackBytes is how many bytes Read copies at once.
const readBackBytes = 4 << 20

// Open makes a backend on one GPU. An error that wraps [ErrUnavailable] means that this machine has no
// usable GPU.
func Open(o Options) (model.Backend, error) {
	d, err := openDevice(o.Device)
	if err != nil {
		return nil, err
	}
	b := &Backend{device: d, float32: o.Float32}
	b.turn = &b.ahead.turns[0]
	b.ahead.run = b.answer
	b.run = func() error {
		err := b.sendAndCopy(b.dst, b.src)
		if err != nil {
			// Launches before the error may still read the stage, which the next step overwrites.
			_ = d.sync(b.stream)
		}
		return err
	}
	err = d.do(func() (err error) {
		if b.stream, err = d.newStream(); err != nil {
			return err
		}
		if err := b.ahead.open(d); err != nil {
			return err
		}
		if b.kernels, err = d.loadKernels(o.Compiling); err != nil {
			return err
		}
		b.readBack, err = d.allocHost(readBackBytes)
		return err
	})
	if err != nil {
		_ = d.close() // the first error is the cause
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
	if b.device.overlapRefused != nil {
		name += ", without overlapping launches"
	}
	return name
}

// KernelCode is the form of the kernels that the GPU loaded.
func (b *Backend) KernelCode() KernelCode { return b.kernels.code }

// Close implements [model.Backend]. Later calls that can fail return an error.
func (b *Backend) Close() error {
	err := b.device.close() // frees everything that the device owns
	if b.failed {
		return nil
	}
	return err
}

// do runs f on the device's thread. It adds the device's name to errors.
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
	ids := room[int32](&b.stage, logits.Rows)
	b.kernels.argmax(&b.queue, ids, ptr(logits), logits.Rows, logits.Cols)
	return b.read(bytesOf(next[:logits.Rows]), ids)
}

// read sends the queue, waits for it, and copies len(dst) bytes from src.
func (b *Backend) read(dst []byte, src devicePtr) error {
	defer b.sent()
	if b.stage.err != nil {
		return b.stage.err
	}
	b.dst, b.src = dst, src
	return b.do(b.run)
}

// sendAndCopy is the part of read that runs on the device's thread.
func (b *Backend) sendAndCopy(dst []byte, src devicePtr) error {
	if err := b.finishUploads(); err != nil {
		return err
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

// finishUploads ends the loading of weights before the first step. It runs on the device's thread.
func (b *Backend) finishUploads() error {
	if b.uploader == nil {
		return nil
	}
	err := b.uploader.finish()
	if err == nil {
		b.uploader = nil
	}
	return err
}

// send puts the stage's data and the queue on the stream. It runs on the device's thread.
func (b *Backend) send() error {
	if n := b.stage.used; n > 0 {
		if err := b.device.copyToDevice(b.stage.device, b.stage.host.bytes[:n], b.stream); err != nil {
			return err
		}
	}
	return b.graphs.run(b.device, b.stream, b.queue)
}

// sent empties the queue after it was sent. The step's data stay on the stage until the next step.
func (b *Backend) sent() {
	b.queue = b.queue[:0]
	b.stage.used = b.stage.kept
}

// drop empties the queue and the stage.
func (b *Backend) drop() {
	b.queue = b.queue[:0]
	b.stage.used, b.stage.kept, b.stage.err = 0, 0, nil
}

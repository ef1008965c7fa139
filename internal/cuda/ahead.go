//go:build cuda && linux && cgo

package cuda

import (
	"cmp"
	"fmt"

	"gorgonia.org/cu"

	"phi3/internal/model"
)

// This file implements [model.Ahead]. The device computes a step while the host makes the next one, so two
// steps can be ahead, and each has a turn: a stage, a queue and the ids that it chooses. A step whose tokens
// the step before it chooses reads them where that step's argmax writes them.
//
// A second stream copies, so that on the first one graph follows graph:
//
//	stream   ├───── graph 1 ─────┼───── graph 2 ─────┼───── graph 3 ─────
//	copies     data 2             ids 1   data 3      ids 2   data 4
//	host       waits for ids 1    makes step 3, waits makes step 4, waits
//
// A graph waits for its data (copied), and the copy of the ids waits for the graph that chooses them (done).
// The host fills the stage of step 3 after it has the ids of step 1, which used the same turn.

// ahead is the turns of the steps.
type ahead struct {
	turns  [2]turn
	older  *turn // of the step before the current one, if the host has not asked for its ids; otherwise nil
	copies cu.Stream
	run    func() error // answer, as a value that is made once
}

// turn is what a step has of its own.
type turn struct {
	stage  stage
	queue  queue     // since the last Read
	ids    devicePtr // int32, the ids that StartArgmax chooses
	chosen int       // how many these are
	begun  bool      // the queue was sent, or that failed with err
	err    error
	copied cu.Event // the stage's data are on the device
	done   cu.Event // the ids are there
}

// open makes the stream and the events. It runs on the device's thread.
func (a *ahead) open(d *device) (err error) {
	if a.copies, err = d.newStream(); err != nil {
		return err
	}
	for i := range a.turns {
		t := &a.turns[i]
		if t.copied, err = d.newOrder(); err != nil {
			return err
		}
		if t.done, err = d.newOrder(); err != nil {
			return err
		}
	}
	return nil
}

// allocate makes the stages and the memory for ids, of so many bytes each. It runs on the device's thread.
func (a *ahead) allocate(d *device, stageBytes, idBytes int) (err error) {
	for i := range a.turns {
		t := &a.turns[i]
		if t.stage, err = newStage(d, stageBytes); err != nil {
			return err
		}
		if t.ids, err = d.alloc(idBytes); err != nil {
			return err
		}
	}
	return nil
}

// takeTurn chooses the turn of a step that begins. Without a step ahead it is always the first, so that equal
// steps have equal queues.
func (b *Backend) takeTurn() {
	a := &b.ahead
	if t := b.turn; t.chosen > 0 {
		a.older = t
	}
	t := &a.turns[0]
	if a.older == t {
		t = &a.turns[1]
	}
	t.chosen, t.begun, t.err = 0, false, nil
	b.turn = t
}

// StartArgmax implements [model.Ahead].
func (b *Backend) StartArgmax(logits model.Matrix) {
	t := b.turn
	b.kernels.argmax(&t.queue, t.ids+devicePtr(4*t.chosen), ptr(logits), logits.Rows, logits.Cols)
	t.chosen += logits.Rows
}

// Chosen implements [model.Ahead].
func (b *Backend) Chosen(next []int32) error {
	b.dst = bytesOf(next)
	return b.do(b.ahead.run)
}

// answer is Chosen on the device's thread. It first sends the steps that were not sent: in a loop, the
// younger one.
func (b *Backend) answer() error {
	t := cmp.Or(b.ahead.older, b.turn)
	err := b.finishUploads()
	if err == nil {
		b.sendTurns(t, b.turn)
		err = b.copyIDs(b.dst, t)
	}
	t.chosen, b.ahead.older = 0, nil
	if err != nil {
		// Work before the error may still read the stage, which the next step overwrites.
		_ = b.device.sync(b.ahead.copies)
		_ = b.device.sync(b.stream)
	}
	return err
}

// sendTurns sends the steps that were not sent. The younger one begins with the ids of the older, so if that
// one was not sent, both have its error: the ids would be those of an earlier step, or no ids at all.
func (b *Backend) sendTurns(older, younger *turn) {
	for _, t := range []*turn{older, younger} {
		if t.chosen == 0 || t.begun {
			continue
		}
		if t.begun, t.err = true, older.err; t.err == nil {
			t.err = b.sendTurn(t)
		}
	}
}

// sendTurn puts a step's data and its queue on the streams.
func (b *Backend) sendTurn(t *turn) error {
	if t.stage.err != nil {
		return t.stage.err
	}
	d, copies := b.device, b.ahead.copies
	if err := d.copyToDevice(t.stage.device, t.stage.host.bytes[:t.stage.used], copies); err != nil {
		return err
	}
	if err := d.record(t.copied, copies); err != nil {
		return err
	}
	if err := d.follow(b.stream, t.copied); err != nil {
		return err
	}
	if err := b.graphs.run(d, b.stream, t.queue); err != nil {
		return err
	}
	return d.record(t.done, b.stream)
}

// copyIDs waits for the ids of a step that was sent, and copies them to dst.
func (b *Backend) copyIDs(dst []byte, t *turn) error {
	if t.err != nil {
		return t.err
	}
	if len(dst) != 4*t.chosen {
		return fmt.Errorf("room for %d ids, and the step has chosen %d", len(dst)/4, t.chosen)
	}
	d, copies := b.device, b.ahead.copies
	if err := d.follow(copies, t.done); err != nil {
		return err
	}
	if err := d.copyToHost(b.readBack.bytes[:len(dst)], t.ids, copies); err != nil {
		return err
	}
	if err := d.sync(copies); err != nil {
		return err
	}
	copy(dst, b.readBack.bytes)
	return nil
}

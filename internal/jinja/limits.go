package jinja

import (
	"context"
	"fmt"
)

// MaxSource is the largest size of a template in bytes: 1 MiB. Real ones have 1 to 20 KB.
const MaxSource = 1 << 20

// A template is an untrusted program. These bounds limit the time and memory that it can take. Each counts
// over the whole rendering, so that bounds cannot multiply: nested loops, or a filter in a macro, spend from
// the same account.
const (
	maxNesting = 200       // of blocks and brackets, and of operators in a row, in the source
	maxCalls   = 150       // of macros and recursive loops within each other. Python ends at about 190
	maxDepth   = 200       // of values within values
	maxBits    = 64 << 10  // of a whole number
	maxRange   = 100_000   // numbers that range() gives, as in jinja2's sandbox
	maxValue   = 16 << 20  // bytes of one value, besides twice the input
	maxMade    = 256 << 20 // bytes of all values made, besides 64 times the input
	// bytes looked at, where a step of the program counts workOfStep; besides 1024 times the input
	maxWork    = 1 << 28
	workOfStep = 64
	letterWork = 16 // what a byte counts where a filter looks at each letter, or at words
	itemBytes  = 32 // what an item of a list counts besides its contents
)

// DefaultOutput is the limit for the rendered text if [Options] gives none: 32 MiB.
const DefaultOutput = 32 << 20

// LimitError says which limit a template exceeded.
type LimitError struct{ text string }

func (e *LimitError) Error() string { return e.text }

func limitf(format string, a ...any) error { return &LimitError{fmt.Sprintf(format, a...)} }

// meter counts what a rendering has used.
type meter struct {
	ctx                  context.Context
	input                int // bytes of the variables
	work, made, tillLook int
	calls, depth         int
}

// step charges for one step of the program and for n bytes that it reads. It also checks ctx.
func (m *meter) step(n int) error {
	m.work += n + workOfStep
	if m.work > maxWork+1024*m.input {
		return limitf("it does more work than a chat template may")
	}
	if m.tillLook -= n + workOfStep; m.tillLook <= 0 {
		m.tillLook = 1 << 20
		return m.ctx.Err()
	}
	return nil
}

// reserve charges for a value of n bytes before it is made.
func (m *meter) reserve(n int) error {
	if n < 0 || n > m.largest() {
		return limitf("it makes a value of more than %d MiB", m.largest()>>20)
	}
	if m.made += n; m.made > maxMade+64*m.input {
		return limitf("it makes values of more than %d MiB together", (maxMade+64*m.input)>>20)
	}
	return m.step(n)
}

// reserveTimes is reserve for n pieces of size bytes each.
func (m *meter) reserveTimes(n, size int) error {
	if n > 0 && size > m.largest()/n {
		return m.reserve(m.largest() + 1)
	}
	return m.reserve(max(n, 0) * size)
}

// largest is how many bytes one value may have.
func (m *meter) largest() int { return maxValue + 2*m.input }

// deeper enters one more level of nested values; leave leaves it.
func (m *meter) deeper() error {
	if m.depth++; m.depth > maxDepth {
		return limitf("it nests values more than %d deep", maxDepth)
	}
	return m.step(0)
}

func (m *meter) leave() { m.depth-- }

// enter counts a call of a macro or of a recursive loop; m.calls-- ends it.
func (m *meter) enter() error {
	if m.calls++; m.calls > maxCalls {
		return limitf("it calls itself more than %d deep", maxCalls)
	}
	return nil
}

package main

import (
	"bytes"
	"fmt"
	"strings"
)

// row is a kernel on a GPU.
type row struct {
	kernel string
	launch
	resources
	blocks int // that a multiprocessor holds
	limit  string
	loop   loop // of a matrix product
	short  loop // the same for tiles with one row group of quantized weights, if it is another loop
}

func newRow(name string, g *gpu, l launch, used resources, code []instruction) (row, error) {
	if g.arch >= "sm_90" || len(g.arch) > len("sm_90") { // from 9.0 on, it includes the system's part
		used.shared -= systemShared
	}
	r := row{kernel: name + l.variant, launch: l, resources: used}
	r.blocks, r.limit = g.resident(l.threads, used.registers, used.shared+l.shared)
	if l.most > 0 && l.most < r.blocks {
		r.blocks, r.limit = l.most, "the next kernel"
	}
	if l.tokenTiles > 0 {
		var err error
		if r.loop, r.short, err = mainLoop(code, &l); err != nil {
			return row{}, fmt.Errorf("%s for %s: %w", name, g.arch, err)
		}
	}
	return r, nil
}

// perWeight is how many instructions of a thread the main loop takes for each weight. A warp's tensor-core
// instruction takes 256 weights, and another one for each tile of tokens.
func (r *row) perWeight() float64 {
	weights := 256 * float64(r.loop.mmas) / float64(r.mmasOfTile*r.tokenTiles)
	return float64(r.loop.instructions) * warpSize / weights
}

const pageHead = `# What nvcc makes of the kernels

` + "`make kernel-table`" + ` writes this page, and ` + "`make check-kernels`" + ` fails if it is outdated:
the figures change only on purpose.
They are nvcc 13.0.88's, for launches with the sizes of Phi-3-mini and one new token.
No GPU was needed, and no figure is a measurement.

| column | meaning |
|---|---|
| registers | of a thread |
| static, dynamic | bytes of shared memory of a block, without the 1,024 that the system takes |
| blocks | that a multiprocessor has at once, and what allows no more, or for what room is left |
| in flight | KB of weights, or of keys and values, that the blocks of a multiprocessor request ahead |
| loop | instructions on the longest way through the main loop, and how many of them are for tensor cores |
| a weight, a byte | instructions of a thread for each weight and for each byte of 16-bit weights there |

The main loop is the innermost one that multiplies weights and requests the next ones.
A multiprocessor issues 128 instructions of threads a clock.
≥: there is another loop inside, whose instructions are counted once.
A number after ; is the instructions of the loop for tiles with one row group of quantized weights, not two.
`

func writePage(tables [][]row) []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	for i, rows := range tables {
		fmt.Fprintf(&b, "\n## %s\n", gpus[i].arch)
		b.WriteString("| kernel | threads | registers | static | dynamic | blocks | limited by | in flight " +
			"| loop | a weight | a byte |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %s |%s\n", r.kernel, r.threads, r.registers,
				r.resources.shared, r.launch.shared, r.blocks, r.limit, r.flight(), r.loopCells())
		}
	}
	return b.Bytes()
}

func (r *row) flight() string {
	if r.inFlight == 0 {
		return "–"
	}
	return fmt.Sprint(r.blocks * r.inFlight >> 10)
}

func (r *row) loopCells() string {
	if r.tokenTiles == 0 {
		return " – | – | – |"
	}
	least, perByte := "", "–"
	if r.loop.inner {
		least = "≥ "
	}
	if r.weightBits > 0 {
		perByte = fmt.Sprintf("%s%.2f", least, 8*r.perWeight()/float64(r.weightBits))
	}
	short := ""
	if r.short.instructions > 0 {
		short = fmt.Sprintf("; %d", r.short.instructions)
	}
	return fmt.Sprintf(" %d, %d%s | %s%.2f | %s |", r.loop.instructions, r.loop.mmas, short, least,
		r.perWeight(), perByte)
}

// difference shows the first lines that differ.
func difference(old, text []byte) string {
	a, b := strings.Split(string(old), "\n"), strings.Split(string(text), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n  %s\nand would be\n  %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("it has %d lines and would have %d", len(a), len(b))
}

//go:build cgo

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test data is an excerpt of what cuobjdump 13.2.78 prints about native code for sm_90a: the loop of a
// decode kernel over a tile's columns, with the loop over tiles around it.
func TestRow(t *testing.T) {
	file, err := os.Open("testdata/norm_linear_decode_bf16.sass")
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // it is only read
	code, err := readSASS(file)
	require.NoError(t, err)
	require.Len(t, code, 2, "kernels")

	list, err := os.Open("testdata/resources.txt")
	require.NoError(t, err)
	defer list.Close() //nolint:errcheck // it is only read
	used, err := readResources(list)
	require.NoError(t, err)

	const name = "norm_linear_decode_bf16"
	hopper := gpus[3]
	launches, err := launchesOf(name, &hopper)
	require.NoError(t, err)
	require.Len(t, launches, 1)
	r, err := newRow(name, &hopper, launches[0], used[name], code[name])
	require.NoError(t, err)
	require.Equal(t, 91, r.registers)
	require.Zero(t, r.resources.shared, "without what the system takes")
	require.Equal(t, 1, r.blocks, "of 2: a block of the next product takes the other half")
	require.Equal(t, "the next kernel", r.limit)
	require.Equal(t, 87, r.loop.instructions, "of the inner loop, not of the loop over tiles")
	require.Equal(t, 4, r.loop.mmas)
	require.InDelta(t, 87*32/1024., r.perWeight(), 1e-9, "an mma takes 16·16 weights")
}

func TestLoops(t *testing.T) {
	code := []instruction{
		{0x00, "MOV R1, c[0x0][0x28]"},
		{0x10, "HMMA.16816.F32.BF16 R4, R8, R12, R4"}, // the remainder, in a loop of its own
		{0x20, "@P0 BRA 0x10"},
		{0x30, "LDGSTS.E.BYPASS.128 [R2], [R4.64]"}, // the main loop
		{0x40, "IADD3 R2, R2, 0x1, RZ"},             // a loop inside, without mma
		{0x50, "@!P1 BRA 0x40"},
		{0x60, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x70, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x80, "@!UP0 BRA.U 0x30"},
		{0x90, "@P2 BRA !P3, 0x00"}, // over everything
		{0xa0, "EXIT"},
		{0xb0, "BRA 0xb0"},
	}
	main, _, err := mainLoop(code, &launch{})
	require.NoError(t, err)
	require.Equal(t, loop{first: 3, last: 8, instructions: 6, mmas: 2, inner: true}, main)

	_, _, err = mainLoop(code[:1], &launch{})
	require.ErrorContains(t, err, "no loop")
}

// The loop for tiles with one row group multiplies as often as the other one.
func TestShortLoop(t *testing.T) {
	code := []instruction{
		{0x00, "LDGSTS.E.BYPASS.128 [R2], [R4.64]"},
		{0x10, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x20, "@P0 BRA 0x0"},
		{0x30, "LDGSTS.E.BYPASS.128 [R2], [R4.64]"},
		{0x40, "IADD3 R2, R2, 0x1, RZ"},
		{0x50, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x60, "@P0 BRA 0x30"},
	}
	for range 2 { // in either order
		main, short, err := mainLoop(code, &launch{})
		require.NoError(t, err)
		require.Equal(t, 4, main.instructions)
		require.Equal(t, 3, short.instructions)
		code = []instruction{code[3], code[4], code[5], code[6], code[0], code[1], code[2]}
		for i := range code {
			code[i].address = i << 4
		}
		code[3].text, code[6].text = "@P0 BRA 0x0", "@P0 BRA 0x40"
	}
	_, short, err := mainLoop(code[:4], &launch{})
	require.NoError(t, err)
	require.Zero(t, short)
}

// A loop over two steps of a stage, of which one is in a loop of its own, and two ways through another loop.
func TestIterations(t *testing.T) {
	code := []instruction{
		{0x00, "LDGSTS.E.BYPASS.128 [R2], [R4.64]"},
		{0x10, "LOP3.LUT R4, R5, 0xf000f, RZ, 0xc0, !PT"},
		{0x20, "@P0 BRA 0x40"}, // a continue
		{0x30, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x40, "@P1 BRA 0x10"},
		{0x50, "@P2 BRA 0x00"},

		{0x60, "LDGSTS.E.BYPASS.128 [R2], [R4.64]"},
		{0x70, "@!P0 BRA 0xa0"},
		{0x80, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x90, "BRA 0xc0"},
		{0xa0, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0xb0, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0xc0, "@P2 BRA 0x60"},
	}
	steps, _, err := mainLoop(code, &launch{mark: "0xf000f", loopMMAs: 2})
	require.NoError(t, err)
	require.Equal(t, loop{first: 0, last: 5, instructions: 2 + 2*4, mmas: 2}, steps)

	for mmas, instructions := range map[int]int{1: 5, 2: 5} {
		way, _, err := mainLoop(code, &launch{otherMarks: []string{"0xf000f"}, loopMMAs: mmas})
		require.NoError(t, err)
		require.Equal(t, loop{first: 6, last: 12, instructions: instructions, mmas: mmas}, way)
	}
	_, _, err = mainLoop(code, &launch{otherMarks: []string{"0xf000f"}, loopMMAs: 3})
	require.ErrorContains(t, err, "no way through the loop at 0x60 has 3")
}

// A loop inside that is entered at its condition runs once.
func TestRotatedLoop(t *testing.T) {
	code := []instruction{
		{0x00, "BRA 0x30"},
		{0x10, "LDG.E.U16 R2, [R4.64]"},
		{0x20, "IADD3 R4, R4, 0x1, RZ"},
		{0x30, "@P0 BRA 0x10"},
		{0x40, "HMMA.16816.F32.BF16 R4, R8, R12, R4"},
		{0x50, "@P1 BRA 0x00"},
	}
	main, _, err := mainLoop(code, &launch{})
	require.NoError(t, err)
	require.Equal(t, loop{first: 0, last: 5, instructions: 7, mmas: 1, inner: true}, main)
}

func TestResident(t *testing.T) {
	for _, c := range []struct {
		gpu                        int
		threads, registers, shared int
		blocks                     int
		limit                      string
	}{
		{0, 256, 80, 73728, 2, "shared memory"}, // 164 KB
		{1, 256, 80, 73728, 1, "shared memory"}, // 100 KB
		{3, 256, 82, 73728, 2, "registers"},     // 88 of a thread, 5 warps in each quarter
		{3, 256, 80, 73728, 3, "registers"},     // 6 warps
		{3, 1024, 16, 1024, 2, "threads"},
		{1, 32, 32, 0, 16, "blocks"},
	} {
		blocks, limit := gpus[c.gpu].resident(c.threads, c.registers, c.shared)
		require.Equal(t, c.blocks, blocks, "%+v", c)
		require.Equal(t, c.limit, limit, "%+v", c)
	}
}

func TestDifference(t *testing.T) {
	require.Equal(t, "line 2 is\n  b\nand would be\n  c", difference([]byte("a\nb"), []byte("a\nc")))
	require.Equal(t, "it has 1 lines and would have 2", difference([]byte("a"), []byte("a\nc")))
}

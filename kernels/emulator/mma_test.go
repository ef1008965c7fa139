//go:build linux && amd64

package emulator

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"phi3/internal/tensorcore"
)

// One mma computes a tile of these sizes.
const rows, columns, depth = 16, 8, tensorcore.K

// tiles lays inputs out for the kernel mma of testdata/.
func tiles(all []tensorcore.Inputs) (words []uint32) {
	for _, in := range all {
		for _, m := range [][]uint16{in.A, in.B} {
			for pair := range slices.Chunk(m, 2) {
				words = append(words, uint32(pair[0])|uint32(pair[1])<<16)
			}
		}
		words = append(words, bits(in.C)...)
	}
	return words
}

func bits(floats []float32) (words []uint32) {
	for _, f := range floats {
		words = append(words, math.Float32bits(f))
	}
	return words
}

// sums are the right results.
func sums(all []tensorcore.Inputs, arch tensorcore.Arch) (words []uint32) {
	for _, in := range all {
		words = append(words, bits(arch.Multiply(in))...)
	}
	return words
}

// vectors are the cases of internal/tensorcore/testdata/mma_vectors.txt, which were computed in rational
// numbers. A tile has 8 of them: case i is the sum of row (3i + tile) % 16 and column i. The other sums
// of a tile combine different cases, are not in the table, and have wanted = false.
func vectors(t *testing.T) (all []tensorcore.Inputs, want map[tensorcore.Arch][]uint32, wanted []bool) {
	t.Helper()
	text, err := os.ReadFile("../../internal/tensorcore/testdata/mma_vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	want = map[tensorcore.Arch][]uint32{}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for number, line := range lines {
		var row []uint32
		for _, field := range strings.Fields(line)[1:] {
			bits, err := strconv.ParseUint(field, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, uint32(bits))
		}
		tile, column := number/columns, number%columns
		if column == 0 {
			all = append(all, tensorcore.Inputs{
				A: make([]uint16, rows*depth), B: make([]uint16, columns*depth),
				C: make([]float32, rows*columns), K: depth,
			})
			want[tensorcore.Ampere] = append(want[tensorcore.Ampere], make([]uint32, rows*columns)...)
			want[tensorcore.Hopper] = append(want[tensorcore.Hopper], make([]uint32, rows*columns)...)
			wanted = append(wanted, make([]bool, rows*columns)...)
		}
		in, m := all[tile], (3*column+tile)%rows
		at := m*columns + column
		in.C[at] = math.Float32frombits(row[0])
		for k := range depth {
			in.A[m*depth+k], in.B[column*depth+k] = uint16(row[1+k]), uint16(row[1+depth+k])
		}
		at += tile * rows * columns
		wanted[at] = true
		want[tensorcore.Ampere][at], want[tensorcore.Hopper][at] = row[1+2*depth], row[2+2*depth]
	}
	return all, want, wanted
}

// TestMMAVectors: through the driver, every compute capability has the arithmetic of its generation.
func TestMMAVectors(t *testing.T) {
	l := newLab(t, Fast)
	all, want, wanted := vectors(t)
	for compute, arch := range map[string]tensorcore.Arch{
		"8.0": tensorcore.Ampere, "8.6": tensorcore.Ampere, "8.9": tensorcore.Ampere,
		"9.0": tensorcore.Hopper, "10.0": tensorcore.Hopper, "12.0": tensorcore.Hopper,
	} {
		how := launch{
			kernel: "mma", grid: len(all), block: 32, outputs: len(wanted), settings: "compute=" + compute,
		}
		got, err := l.run(t, how, tiles(all))
		if err != nil {
			t.Fatal(err)
		}
		if differ := different(got, want[arch], wanted); differ != "" {
			t.Errorf("compute=%s: %s", compute, differ)
		}
	}
}

// different describes the wanted words that differ. It is "" if there are none.
func different(got, want []uint32, wanted []bool) string {
	n, first := 0, 0
	for i := range want {
		if (wanted == nil || wanted[i]) && got[i] != want[i] {
			if n == 0 {
				first = i
			}
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d sums differ; first tile %d, row %d, column %d: %08x, not %08x",
		n, len(want), first/rows/columns, first/columns%rows, first%columns, got[first], want[first])
}

// compileMMA compiles src/mma.cc alone, with testdata/mma.cc.
func compileMMA(t *testing.T, flags ...string) (program string) {
	t.Helper()
	b, err := newBuilder(nil)
	unavailable(t, err)
	program = filepath.Join(t.TempDir(), "mma")
	args := append(slices.Clone(b.flags), "-O2", "-Werror")
	args = append(append(args, flags...), "-o", program, "testdata/mma.cc", "src/mma.cc")
	if out, err := exec.Command(b.compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// runMMA runs it and returns the sums.
func runMMA(t *testing.T, program string, arch tensorcore.Arch, all []tensorcore.Inputs) (words []uint32) {
	t.Helper()
	type registers struct {
		A [4][32]uint32
		B [2][32]uint32
		D [4][32]uint32
	}
	// The place of a lane's element i of d in a tile.
	place := func(lane, i int) int { return (lane/4+i/2*8)*columns + lane%4*2 + i%2 }
	var in, out bytes.Buffer
	for _, inputs := range all {
		words := tiles([]tensorcore.Inputs{inputs})
		a, b, c := words[:128], words[128:192], words[192:]
		var r registers
		for lane := range 32 {
			for i := range 4 {
				r.A[i][lane] = a[(lane/4+i%2*8)*8+lane%4+i/2*4]
				r.D[i][lane] = c[place(lane, i)]
			}
			for i := range 2 {
				r.B[i][lane] = b[lane/4*8+lane%4+i*4]
			}
		}
		if err := binary.Write(&in, binary.LittleEndian, r); err != nil {
			t.Fatal(err)
		}
	}
	generation := map[tensorcore.Arch]string{tensorcore.Ampere: "ampere", tensorcore.Hopper: "hopper"}
	cmd := exec.Command(program, generation[arch])
	cmd.Stdin, cmd.Stdout = &in, &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	words = make([]uint32, len(all)*rows*columns)
	for tile := range all {
		var d [4][32]uint32
		if err := binary.Read(&out, binary.LittleEndian, &d); err != nil {
			t.Fatal(err)
		}
		for lane := range 32 {
			for i := range 4 {
				words[tile*rows*columns+place(lane, i)] = d[i][lane]
			}
		}
	}
	return words
}

// TestMMA: compiled for this processor and for any x86-64, every sum has the bits that
// internal/tensorcore computes.
func TestMMA(t *testing.T) {
	for name, flags := range map[string][]string{"this processor": nil, "any processor": {"-march=x86-64"}} {
		program := compileMMA(t, flags...)
		for i, kind := range tensorcore.Kinds {
			r := rand.New(rand.NewPCG(5, uint64(i)))
			all := make([]tensorcore.Inputs, 50)
			for j := range all {
				all[j] = kind.Draw(r, rows, columns, depth)
			}
			for _, arch := range []tensorcore.Arch{tensorcore.Ampere, tensorcore.Hopper} {
				if differ := different(runMMA(t, program, arch, all), sums(all, arch), nil); differ != "" {
					t.Errorf("%s, %s on %s: %s", name, kind.Name, arch, differ)
				}
			}
		}
		all, want, wanted := vectors(t)
		for arch := range want {
			if differ := different(runMMA(t, program, arch, all), want[arch], wanted); differ != "" {
				t.Errorf("%s, vectors on %s: %s", name, arch, differ)
			}
		}
	}
}

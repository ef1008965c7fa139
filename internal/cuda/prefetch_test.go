//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// emulatorLog makes the emulator write a log, with other settings if there are some. The function that it
// returns gives the lines since its last call: all of them, or those that begin with one of the words.
func emulatorLog(t *testing.T, settings ...string) func(words ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	emulate(t, strings.Join(append(settings, "log="+file), ";"))
	read := 0
	return func(words ...string) (lines []string) {
		text, err := os.ReadFile(file)
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		for line := range strings.Lines(string(text[read:])) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if len(words) == 0 || slices.Contains(words, word) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		read = len(text)
		return lines
	}
}

// TestPrefetch: a product prefetches exactly the bytes that it is told to, whatever the grid. The next
// product's weights end with an allocation, so that one byte more is an error of the emulator.
func TestPrefetch(t *testing.T) {
	log := emulatorLog(t)
	b := openKernels(t)
	for _, c := range []struct{ rows, k, blocks, nextRows, nextK, limit int }{
		{16, 64, 1, 1, 8, 1 << 20},      // 16 bytes for 8 warps
		{16, 64, 1, 5, 1032, 1 << 20},   // 10,320 bytes: 80 lines and a part
		{75, 72, 7, 331, 72, 1 << 20},   // most warps have no columns
		{1, 8, 5, 33, 1032, 1 << 20},    // most blocks have no tile
		{49, 584, 2, 331, 1032, 60_000}, // a part of the matrix
		{49, 584, 2, 331, 1032, 0},
	} {
		for _, kernel := range []struct {
			name   string
			weight elementType
			run    func(*queue, product, int)
		}{
			{"linear_decode_bf16", typeBF16, b.k.decode},
			{"linear_batch_bf16", typeBF16, b.k.batch},
			{"linear_decode_quantized", typeOf(weight.Q8_0), b.k.decode},
		} {
			x, y := upload(b, make([]uint16, 1056)), b.alloc(4*331)
			first := product{
				y: y.devicePtr, x: x.devicePtr, weight: kernel.weight, tokens: 1,
				rows: c.rows, k: wholeBlocks(kernel.weight, c.k),
			}
			next := first
			next.rows, next.k = c.nextRows, wholeBlocks(kernel.weight, c.nextK)
			b.do(func() (err error) {
				for _, p := range []*product{&first, &next} {
					if p.w, err = b.d.alloc(p.weightBytes()); err != nil {
						return err
					}
					if err = b.d.fill(p.w, 0, p.weightBytes(), b.stream); err != nil {
						return err
					}
				}
				b.d.prefetch = c.limit
				return nil
			})
			kernel.run(&b.q, first, c.blocks)
			kernel.run(&b.q, next, 1)
			b.run()
			want := []string{}
			for _, p := range []product{next, first} { // the last product prefetches for the first
				if c.limit > 0 {
					bytes := min(p.weightBytes(), c.limit)
					want = append(want, fmt.Sprint("prefetch ", kernel.name, " ", bytes))
				}
			}
			require.Equal(t, want, append([]string{}, log("prefetch")...), "%s, %+v", kernel.name, c)
			b.free(x, y)
			b.do(func() error { return errors.Join(b.d.free(first.w), b.d.free(next.w)) })
			b.check()
		}
	}
}

// TestTokensPrefetch: in every token each product prefetches the next product's weights, and the head those
// that the next token begins with. On a GPU with a small cache it is a part.
func TestTokensPrefetch(t *testing.T) {
	for _, limit := range []int{maxPrefetch, 4096} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			log := emulatorLog(t)
			m, b := loadTest(t)
			b.device.prefetch = limit
			s := newStepper(t, m)
			var sent queue
			// A batch, and tokens: the first by launches, the others by a graph.
			for _, tokens := range []int{20, 1, 1, 1, 1} {
				b.run = func() error {
					defer func() { sent = slices.Clone(b.queue) }()
					return b.sendAndCopy(b.dst, b.src)
				}
				s.mustFeed(t, tokens)
				var products []*launch
				for i := range sent {
					if sent[i].weights > 0 {
						products = append(products, &sent[i])
					}
				}
				require.Len(t, products, 4*m.Config.Layers+1)
				prefetched := log("prefetch")
				require.Len(t, prefetched, len(products))
				for i, p := range products {
					next := products[(i+1)%len(products)]
					require.Equal(t, next.linearArgs().w, p.linearArgs().next, "product %d", i)
					require.Regexp(t, fmt.Sprintf("^prefetch .*(linear|gate_up).* %d$", min(limit,
						int(next.weights))), prefetched[i], "product %d", i)
				}
			}
			require.True(t, b.graphs.seen[0].captured)
		})
	}
}

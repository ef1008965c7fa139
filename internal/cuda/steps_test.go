//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

const smallest = "../../testdata/smallv"

// crowd is many sequences on one model, and the logits that each has alone.
type crowd struct {
	*testing.T
	m     *model.Model
	b     *Backend
	texts []*text
	out   model.Output
}

func unchanged(b *Backend) model.Backend { return b }

// text is a sequence: a prompt, and tokens that follow.
type text struct {
	ids    []int32
	prompt int // tokens of the prompt
	logits []float32
	cache  *kvcache.Cache
}

func newCrowd(
	t *testing.T, dir string, sequences, room int, wrap func(b *Backend) model.Backend,
) *crowd {
	c := &crowd{T: t, b: openTest(t, Options{})}
	var err error
	c.m, err = model.Load(context.Background(), os.DirFS(dir), wrap(c.b),
		model.Options{Context: room, MaxTokens: 160, Sequences: sequences})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.m.Close()) })
	return c
}

// add adds a text, which begins as the text number first if that is not negative, and computes it alone.
func (c *crowd) add(prompt, more, first int) {
	n := len(c.texts)
	x := &text{prompt: prompt, cache: c.m.NewCache()}
	if first >= 0 {
		x.ids = slices.Clone(c.texts[first].ids[:min(prompt-1, c.texts[first].prompt)])
	}
	for i := len(x.ids); i < prompt+more; i++ {
		x.ids = append(x.ids, int32((i*7+n*13+i*n)%c.m.Config.VocabSize))
	}
	out := model.Output{AllLogits: true}
	_, err := c.m.Feed(context.Background(), model.Input{IDs: x.ids, Cache: x.cache}, &out)
	require.NoError(c, err)
	x.logits = slices.Clone(out.Logits)
	x.cache.Reset()
	c.texts = append(c.texts, x)
}

// kernelCounts are the launches of kv_append and of attention's two kernels in a layer of a step.
type kernelCounts struct{ appends, prefills, decodes int }

// step computes so many next tokens of each text. The logits of each one's last new token must be those that
// it has alone.
func (c *crowd) step(news ...int) kernelCounts {
	c.Helper()
	counts, wrong := c.try(news)
	require.Empty(c, wrong)
	return counts
}

// try computes a step, and says which logits are wrong.
func (c *crowd) try(news []int) (counts kernelCounts, wrong string) {
	c.Helper()
	var batch []model.Sequence
	var of []*text
	for i, n := range news {
		x := c.texts[i]
		if n == 0 {
			continue
		}
		at := x.cache.Len()
		_, err := x.cache.Prepare(max(x.prompt, at+n))
		require.NoError(c, err)
		batch = append(batch, model.Sequence{IDs: x.ids[at : at+n], Cache: x.cache, Want: model.WantLogits})
		of = append(of, x)
	}
	run := c.b.run
	c.b.run = func() error {
		err := run()
		for _, l := range c.b.queue {
			switch k := c.b.kernels.attention; l.function {
			case k.kvAppendF:
				counts.appends++
			case k.prefillF:
				counts.prefills++
			case k.decodeF:
				counts.decodes++
			}
		}
		return err
	}
	require.NoError(c, c.m.Forward(context.Background(), batch, &c.out))
	c.b.run = run
	width := c.m.Config.HeadRows()
	for i, x := range of {
		x.cache.Know(x.ids[:x.cache.Len()])
		got, want := c.out.Logits[i*width:][:width], x.logits[(x.cache.Len()-1)*width:][:width]
		if n := len(batch[i].IDs); !bytes.Equal(bytesOf(want), bytesOf(got)) {
			wrong += fmt.Sprintf("sequence %d of %d, %d tokens after %d\n", i, len(batch), n, x.cache.Len()-n)
		}
	}
	layers := c.m.Config.Layers
	return kernelCounts{counts.appends / layers, counts.prefills / layers, counts.decodes / layers}, wrong
}

// serve computes all texts as a server does: tokens of those whose prompt is computed, and pieces of the
// prompts of others, so many tokens in all. A prompt begins with the blocks that are known.
func (c *crowd) serve(budget int) (kinds map[kernelCounts]int) {
	kinds = map[kernelCounts]int{}
	begun := make([]bool, len(c.texts))
	for {
		news, left := make([]int, len(c.texts)), budget
		for i, x := range c.texts {
			if at := x.cache.Len(); at >= x.prompt && at < len(x.ids) {
				if news[i] = 1; i%3 == 2 {
					news[i] = min(1+i%decodeTokens, len(x.ids)-at)
				}
				left -= news[i]
			}
		}
		for i, x := range c.texts {
			if left <= 0 || x.cache.Len() >= x.prompt {
				continue
			}
			if !begun[i] {
				begun[i] = true
				x.cache.Adopt(x.ids[:x.prompt-1], x.prompt, false)
			}
			news[i] = min(left, x.prompt-x.cache.Len())
			left -= news[i]
		}
		if slices.Max(news) == 0 {
			return kinds
		}
		kinds[c.step(news...)]++
	}
}

// entries is how many entries the block tables have, and how many blocks these are.
func (c *crowd) entries() (entries, blocks int) {
	different := map[int32]bool{}
	for _, x := range c.texts {
		for _, block := range x.cache.Blocks() {
			entries++
			different[block] = true
		}
	}
	return entries, len(different)
}

var (
	onlyDecode  = kernelCounts{0, 0, 1}
	onlyPrefill = kernelCounts{1, 1, 0}
	bothKernels = kernelCounts{1, 1, 1}
)

// TestSteps: sequences that run together, some with a token and some with a piece of a prompt, have the bytes
// that each has alone. Some begin with the same blocks.
func TestSteps(t *testing.T) {
	for _, n := range []int{2, 9, 33, 64} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCrowd(t, smallest, n, 300, unchanged)
			c.add(150, 9, -1)
			for i := 1; i < n; i++ {
				if i%8 == 1 {
					c.add(131+i%5, 3+i%9, 0) // shares a block
				} else {
					c.add(1+i*5%23, 2+i%11, -1)
				}
			}
			kinds := c.serve(80)
			require.Positive(t, kinds[onlyDecode], kinds)
			require.Positive(t, kinds[bothKernels], kinds)
			require.Len(t, kinds, 2+min(1, kinds[onlyPrefill]), kinds)
			entries, blocks := c.entries()
			require.Greater(t, entries, blocks)
		})
	}
}

// TestStepsOfOtherModels: the same with groups of query heads, and with a window.
func TestStepsOfOtherModels(t *testing.T) {
	for _, dir := range []string{"medium", "window"} {
		c := newCrowd(t, "../../testdata/"+dir, 6, 300, unchanged)
		for i, prompt := range []int{140, 3, 133, 20, 1, 129} {
			c.add(prompt, 2+i, i%2-1)
		}
		c.serve(60)
	}
}

// four are texts of one and of two chunks, of which the prompts are computed.
func four(t *testing.T, wrap func(b *Backend) model.Backend) *crowd {
	c := newCrowd(t, smallest, 4, 300, wrap)
	for i, prompt := range []int{140, 4, 129, 2} {
		c.add(prompt, 12, -1)
		c.try(append(make([]int, i), prompt))
	}
	return c
}

// TestLittleRoomForDecode: where attention has no room to decode all sequences of few new tokens, the others
// run as prefill.
func TestLittleRoomForDecode(t *testing.T) {
	c := four(t, unchanged)
	require.Equal(t, onlyDecode, c.step(1, 1, 1, 1))
	require.Equal(t, bothKernels, c.step(1, 1, 1, 9))
	c.b.mostDecodeWorks = 5
	require.Equal(t, bothKernels, c.step(1, 1, 1, 1), "six chunks")
	c.b.mostDecodeSeqs = 0
	require.Equal(t, onlyPrefill, c.step(1, 1, 1, 1))
}

// mistaken is a Backend with a mistake in the staged step.
type mistaken struct {
	*Backend
	mistake *func(s *stagedStep)
}

func (m mistaken) Begin(step *model.Step) {
	m.Backend.Begin(step)
	if *m.mistake != nil {
		(*m.mistake)(&m.staged)
	}
}

// TestMistakenSteps: the tests of this file notice mistakes in how the sequences of a step are split.
func TestMistakenSteps(t *testing.T) {
	var mistake func(s *stagedStep)
	c := four(t, func(b *Backend) model.Backend { return mistaken{b, &mistake} })
	for name, m := range map[string]func(s *stagedStep){
		"none":                    nil,
		"nothing decodes":         func(s *stagedStep) { s.decodeSeqs = 0 },
		"nothing runs as prefill": func(s *stagedStep) { s.prefillWorks = 0 },
		"an item is left out":     func(s *stagedStep) { s.prefillWorks-- },
	} {
		for _, x := range c.texts {
			x.cache.Truncate(x.prompt)
		}
		mistake = m
		_, wrong := c.try([]int{1, 9, 1, 10})
		require.Equal(t, m == nil, wrong == "", "%s: %s", name, wrong)
	}
}

// limited is a Backend with so many blocks of KV cache.
type limited struct {
	*Backend
	blocks int
}

func (l limited) Plan(p *model.Plan) error {
	p.Limit(l.blocks)
	return l.Backend.Plan(p)
}

// TestMoreEntriesThanBlocks: the block tables of a step have more entries than the KV cache has blocks.
func TestMoreEntriesThanBlocks(t *testing.T) {
	const sequences, prefix = 5, 2
	c := newCrowd(t, smallest, sequences, (prefix+1)*kvcache.BlockTokens, func(b *Backend) model.Backend {
		return limited{b, prefix + sequences}
	})
	require.Equal(t, prefix+sequences, c.b.kvBlocks)
	for i := range sequences {
		c.add(prefix*kvcache.BlockTokens+2+i, 3, min(0, i-1))
	}
	for of := c.texts[0].prompt; of > 0; of -= 160 {
		c.step(min(of, 160))
	}
	news := make([]int, sequences)
	for i, x := range c.texts[1:] {
		require.Equal(t, prefix*kvcache.BlockTokens, x.cache.Adopt(x.ids[:x.prompt-1], x.prompt, false))
		news[i+1] = x.prompt - x.cache.Len()
	}
	news[0] = 1
	require.Equal(t, onlyDecode, c.step(news...))
	entries, blocks := c.entries()
	require.Equal(t, []int{sequences * (prefix + 1), prefix + sequences}, []int{entries, blocks})
	require.Equal(t, onlyDecode, c.step(slices.Repeat([]int{1}, sequences)...))
}

// TestDecodeTogether: many sequences write their most probable tokens together, a step ahead of the host, and
// each writes what it writes alone.
func TestDecodeTogether(t *testing.T) {
	const tokens = 4
	for _, n := range []int{2, 9, 33, 64} {
		c := newCrowd(t, smallest, n, 140, unchanged)
		decode := func(texts ...*text) (ids [][]int32) {
			var batch []model.Sequence
			for _, x := range texts {
				_, err := c.m.Feed(c.Context(), model.Input{IDs: x.ids[:x.prompt], Cache: x.cache}, nil)
				require.NoError(t, err)
				batch = append(batch, model.Sequence{IDs: x.ids[x.prompt : x.prompt+1], Cache: x.cache})
			}
			for next, err := range c.m.Decode(c.Context(), batch, tokens) {
				require.NoError(t, err)
				ids = append(ids, slices.Clone(next))
			}
			require.Len(t, ids, tokens)
			return ids
		}
		for i := range n {
			c.add([]int{126, 1 + i%9}[min(i, 1)], 1, -1) // one goes on in another block
		}
		together := decode(c.texts...)
		require.NotEmpty(t, c.b.ahead.turns[1].queue, "a step was ahead")
		for _, x := range c.texts {
			x.cache.Reset()
		}
		for i := 0; i < n; i += ceilDiv(n, 8) {
			for step, ids := range decode(c.texts[i]) {
				require.Equal(t, ids[0], together[step][i], "sequence %d of %d, step %d", i, n, step)
			}
		}
	}
}

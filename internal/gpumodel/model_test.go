package gpumodel

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

func predict(t *testing.T, card, weights string, cached, tokens int, cures Cures) *Prediction {
	t.Helper()
	config, err := PhiMini()
	require.NoError(t, err)
	recipe, err := ParseWeights(weights)
	require.NoError(t, err)
	p, err := Predict(Find(card), Step{config, recipe, cached, tokens, cures})
	require.NoError(t, err)
	return p
}

func kernel(t *testing.T, p *Prediction, name string) *Time {
	t.Helper()
	for i := range p.Kernels {
		if p.Kernels[i].Name == name {
			return &p.Kernels[i]
		}
	}
	require.Fail(t, "no kernel "+name)
	return nil
}

// TestNothingReadsFasterThanMemory: over a step, and over many calls of one kernel, no byte is read in a time
// in which others are.
func TestNothingReadsFasterThanMemory(t *testing.T) {
	config := must(t, PhiMini)
	recipe, err := ParseWeights("bf16")
	require.NoError(t, err)
	for i := range Cards {
		card := &Cards[i]
		most := card.ReadRate() * steady * (1 + 1e-9)
		for _, cached := range []int{100, 2000, 2048, 4000, 16000, 100_000} {
			for _, tokens := range []int{1, 8, 16, 64} {
				p := predict(t, card.Short, "bf16", cached, tokens, All)
				require.LessOrEqual(t, p.Bytes/p.Total(), most, "%s, %d × %d", card.Short, tokens, cached)
				for _, verb := range []string{"NormLinear qkv", "Attend", "LinearAdd o", "NormGateUp"} {
					k, err := Repeated(card, Step{config, recipe, cached, tokens, All}, verb)
					require.NoError(t, err)
					require.LessOrEqual(t, k.Bytes/k.Total(), most, "%s of %s, %d × %d",
						verb, card.Short, tokens, cached)
				}
			}
		}
	}
}

// The page has the tables that this package writes. `go run ./cmd/gpu-model -update docs/gpu-model.md` writes
// them.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/gpu-model.md")
	require.NoError(t, err)
	updated, err := Update(string(page))
	require.NoError(t, err)
	require.True(t, updated == string(page),
		"docs/gpu-model.md is outdated: go run ./cmd/gpu-model -update docs/gpu-model.md")
}

// The bytes of a step are a count, not a guess: docs/cuda.md has the same figures.
func TestBytes(t *testing.T) {
	const weights, token = 7.445e9, 393216
	require.InEpsilon(t, weights+100*token, predict(t, "H100", "bf16", 100, 1, All).Bytes, 1e-4)
	require.InEpsilon(t, weights+8*4000*token, predict(t, "H100", "bf16", 4000, 8, All).Bytes, 1e-4)
}

// No step is faster than the fastest read of its bytes, and no cure makes a step slower.
func TestLimits(t *testing.T) {
	for _, card := range Cards {
		for _, weights := range []string{"bf16", "f16", "q8_0", "q4_k"} {
			for _, cached := range []int{0, 100, 4000, 100000} {
				for _, tokens := range []int{1, 8, 9, 64} {
					last := predict(t, card.Short, weights, cached, tokens, None)
					for _, cures := range []Cures{
						{Join: true},
						{Join: true, Ahead: true},
						{Join: true, Ahead: true, Prefetch: true},
						All,
					} {
						p := predict(t, card.Short, weights, cached, tokens, cures)
						require.Less(t, p.Bytes/p.Total(), card.ReadRate(), "%s %v", card.Short, cures)
						require.LessOrEqual(t, p.Total(), last.Total()+1e-6, "%s %s %d cached %v", card.Short,
							weights, cached, cures)
						last = p
					}
				}
			}
		}
	}
}

// A product's launches, its tiles on so many blocks, and the terms of its time.
func TestProduct(t *testing.T) {
	p := predict(t, "H100", "bf16", 100, 1, None)
	o, down := kernel(t, p, "LinearAdd o"), kernel(t, p, "LinearAdd down")
	require.Equal(t, 32, o.Count)
	require.InDelta(t, 2*3072*3072, o.Bytes, 0)
	require.InDelta(t, 1, o.Waves, 0, "192 tiles on up to 264 blocks")
	require.InDelta(t, gap, o.Lead, 1e-9)
	require.InDelta(t, o.Bytes/(3350e3*0.91*steady), o.Stream, 1e-9)
	require.Greater(t, down.Bytes/down.Total(), o.Bytes/o.Total(), "edges cost a small matrix more")

	// A prefetch hides reading during the edges, but not the edges.
	with := kernel(t, predict(t, "H100", "bf16", 100, 1, Cures{Prefetch: true}), "LinearAdd down")
	require.InDelta(t, finish+with.Lead+with.Fill, down.Stream-with.Stream, 1e-9)

	// An RTX 3060 has 3 MB of L2.
	small := kernel(t, predict(t, "RTX 3060", "bf16", 100, 1, Cures{Prefetch: true}), "LinearAdd o")
	require.Greater(t, small.Stream, (o.Bytes-3<<18)/(360e3*0.92))
}

// Tokens that do not fit in shared memory are normalized by a kernel of their own.
func TestSeparateNorm(t *testing.T) {
	require.Equal(t, 2*32+1, kernel(t, predict(t, "RTX 4090", "bf16", 100, 8, None), "rms_norm").Count)
	for _, k := range predict(t, "H100", "bf16", 100, 8, None).Kernels {
		require.NotEqual(t, "rms_norm", k.Name)
	}
}

func TestUnpackingIsBoundByInstructions(t *testing.T) {
	e := table["sm_90a"]["gate_up_decode_bf16"]
	require.Positive(t, e.blocks)
	require.Positive(t, e.perWeight)
	require.Positive(t, e.inFlight)
	clock := &clock{Card: Find("H100"), Step: &Step{Tokens: 1}}
	var k Time
	e.perWeight = 30
	clock.product(&k, &operation{rows: 16384, k: 3072, format: weight.BF16, normed: true}, e)
	require.Equal(t, 1024./264, k.Waves, "2 blocks on each of 132, without dependent launch")
	require.Equal(t, "instructions", k.Bound)
	require.InEpsilon(t, 8*16*3072*30/(128*1830*issue), k.Stream, 1e-9, "8 of 1,024 tiles on the busiest")
}

// With quantized weights a block reads the tokens once for two row groups: of o's 384 groups, 264 blocks have
// one or two.
func TestGroupsShareTokens(t *testing.T) {
	card := Find("H100")
	o := kernel(t, predict(t, "H100", "q4_k", 100, 8, All), "LinearAdd o")
	require.Equal(t, "L2", o.Bound)
	require.InEpsilon(t, (o.Bytes+264*8*3072*2)/card.L2Rate, o.Stream, 1e-9)
}

// With quantized weights the busiest multiprocessor has one row group more than the others at most.
// Phi-3-mini's o and down have 384, qkv 1,152.
func TestBusiestTiles(t *testing.T) {
	h100 := &clock{Card: Find("H100")} // 132 multiprocessors
	for _, c := range []struct{ groups, blocks, pairs, singles int }{
		{384, 2, 1, 1},  // one block has 0 and 264, the other 132
		{384, 1, 1, 1},  // 0 and 132, 264
		{1152, 2, 4, 1}, // 0, 264, …, 1056; and 132, …, 924
		{100, 2, 0, 1},
		{133, 2, 0, 2},
	} {
		e := evidence{blocks: c.blocks, single: 0.7}
		want := float64(c.pairs) + 0.7*float64(c.singles)
		require.InDelta(t, want, h100.busiestTiles(float64(c.groups), e), 1e-9, "%+v", c)
	}
	e := table["sm_90a"]["linear_add_decode_quantized, 4 bits"]
	require.Greater(t, e.single, 0.5, "a tile with one row group has all inputs and the scales' loop")
	require.Less(t, e.single, 1.0)
	require.Zero(t, table["sm_90a"]["norm_gate_up_decode_quantized, 4 bits"].single, "its tiles are whole")
}

func TestFind(t *testing.T) {
	require.Equal(t, "H100", Find("NVIDIA H100 80GB HBM3").Short)
	require.Equal(t, "H200", Find("NVIDIA H200").Short)
	require.Equal(t, "RTX 3060", Find("NVIDIA GeForce RTX 3060").Short)
	require.Nil(t, Find("NVIDIA GeForce RTX 3060 Ti"), "another card")
	require.Nil(t, Find(""))
}

func TestRefusals(t *testing.T) {
	config, err := PhiMini()
	require.NoError(t, err)
	_, err = Predict(&Cards[0], Step{Config: config, Tokens: 65})
	require.ErrorContains(t, err, "1 to 64 tokens")
	_, err = ParseWeights("q9")
	require.Error(t, err)
	_, err = Without("B1,B9")
	require.ErrorContains(t, err, `"B9" is not one of`)
	_, err = Update("no tables")
	require.ErrorContains(t, err, `no place for the table "cards"`)
}

func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0.00", 9.994: "9.99", 9.996: "10.0", 99.96: "100", 999.4: "999", 999.6: "1,000", 1234.5: "1,235",
		999_999.6: "1,000,000", 39_321_607: "39,321,607", 1e9: "1,000,000,000",
	} {
		require.Equal(t, want, digits(x), x)
	}
}

func TestWithout(t *testing.T) {
	c, err := Without("b1,B4")
	require.NoError(t, err)
	require.Equal(t, Cures{Join: true, Ahead: true, Batch: true}, c)
	require.Equal(t, "with B2, B3, B5", c.String())
	c, err = Without("")
	require.NoError(t, err)
	require.Equal(t, "with B1 to B5", c.String())
}

// The figures are those of the kit, by name and unit.
func TestFigures(t *testing.T) {
	const measured = `step,figure,value,sd,unit,gb_per_s,copy_gb_per_s,read_gb_per_s
bench-100,read-only ceiling,3000,,GB/s,3000,2900,3000
bench-100,decode after 100 tokens,380,1,tokens/s,2850,2900,3000
bench-100,decode after 100 tokens,381,1,tokens/s,2850,2900,3000
bench-100,prefill of 100 tokens,9000,1,tokens/s,,2900,3000
kernel-times,decode 1/LinearAdd o,6,,µs,,2900,3000
kernel-times,decode 8/Attend,60,,GB/s,,2900,3000
experiments,Experiment/token/100cached-waiting,50,,µs/host,,,
experiments,Experiment/token/100cached,5,,µs/host,,,
experiments,Experiment/empty/1block/graph,1,,µs/kernel,,,
experiments,Experiment/chain/graph,2700,,µs/32layers,,,
experiments,Experiment/chain/prefetch-12MB,2700,,GB/s,,,
experiments,Experiment/attention/100k/join,400,,µs,,,
experiments,Experiment/attention/100k/no-join,400,,µs,,,
experiments,Experiment/attention/100k/serial-join,440,,µs,,,
experiments,Experiment/quantized/gate-up/q4 k,15,,µs,,,
experiments,Experiment/quantized/gate-up/bf16,2500,,GB/s,,,
experiments,Experiment/quantized/gate-up/q9,15,,µs,,,
experiments,Experiment/quantized/head/q4 k,15,,µs,,,
`
	config := &model.Config{}
	*config = *must(t, PhiMini)
	var out strings.Builder
	require.NoError(t, Figures(&out, strings.NewReader(measured), Find("H100"), config))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 13, "no prediction for prefill, one for a figure that was measured twice")
	require.Equal(t, "bench-100,read-only ceiling,GB/s,3048.5", lines[0])
	require.Regexp(t, `^bench-100,decode after 100 tokens,tokens/s,3[0-9]{2}\.`, lines[1])
	require.Regexp(t, `^kernel-times,decode 1/LinearAdd o,µs,[0-9.]+$`, lines[2])
	require.Regexp(t, `^kernel-times,decode 8/Attend,GB/s,[0-9.]+$`, lines[3])
	require.Equal(t, "experiments,Experiment/token/100cached-waiting,µs/host,50", lines[4])
	require.Equal(t, "experiments,Experiment/token/100cached,µs/host,5", lines[5])
	require.Equal(t, "experiments,Experiment/empty/1block/graph,µs/kernel,1.3", lines[6])
	require.Regexp(t, `^experiments,Experiment/chain/graph,µs/32layers,2[0-9]{3}`, lines[7])
	require.Regexp(t, `^experiments,Experiment/chain/prefetch-12MB,GB/s,2[0-9]{3}`, lines[8])
	attend := kernel(t, predict(t, "H100", "bf16", 100_000, 1, Cures{Join: true}), "Attend")
	require.Equal(t, fmt.Sprintf("experiments,Experiment/attention/100k/join,µs,%.6g", attend.Total()),
		lines[9])
	attend = kernel(t, predict(t, "H100", "bf16", 100_000, 1, None), "Attend")
	require.Equal(t, fmt.Sprintf("experiments,Experiment/attention/100k/serial-join,µs,%.6g", attend.Total()),
		lines[10])
	gateUp := kernel(t, predict(t, "H100", "q4_k", 0, 1, None), "NormGateUp")
	require.Equal(t, fmt.Sprintf("experiments,Experiment/quantized/gate-up/q4 k,µs,%.6g", gateUp.Total()),
		lines[11])
	require.Regexp(t, `^experiments,Experiment/quantized/gate-up/bf16,GB/s,2[0-9]{3}`, lines[12])

	config.HiddenSize /= 2
	var half strings.Builder
	require.NoError(t, Figures(&half, strings.NewReader(measured), Find("H100"), config))
	require.NotEqual(t, lines[1], strings.Split(half.String(), "\n")[1], "the measured model's sizes")
	require.Contains(t, half.String(), lines[2], "the benchmark's sizes")
}

func must(t *testing.T, f func() (*model.Config, error)) *model.Config {
	c, err := f()
	require.NoError(t, err)
	return c
}

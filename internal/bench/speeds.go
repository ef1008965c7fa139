package bench

import (
	"context"
	"fmt"
	"strings"

	"phi3/internal/cpu"
	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/show"
)

// Speeds is the result of [Measure].
type Speeds struct {
	About
	FirstToken   Spread `json:"first_token_ms"`
	PrefillRate  Spread `json:"prefill_tokens_per_s"`
	DecodeRate   Spread `json:"decode_tokens_per_s"`
	DecodeMS     Spread `json:"decode_ms_per_token"`
	PrefillFlops Spread `json:"prefill_gflop_per_s"`
	// Bytes of the weights, and of the KV cache in the middle of the generation.
	BytesPerToken int64  `json:"decode_bytes_per_token"`
	Bandwidth     Spread `json:"decode_gb_per_s"`
	// The most that the machine can do; 0 if it was not measured.
	LimitFlops     float64 `json:"limit_gflop_per_s,omitempty"`
	LimitBandwidth float64 `json:"limit_gb_per_s,omitempty"`
}

// Measure measures about.Repetitions generations. Before them it runs one that does not count, because it
// reads the checkpoint from the disk. kvElemBytes is the size of one number in the KV cache. limits are those
// of the machine, or zero if they were not measured.
func Measure(
	ctx context.Context, m *model.Model, about About, kvElemBytes int, limits cpu.Limits,
) (*Speeds, error) {
	prompt := samplePrompt(m, about.Prompt)
	var first, prefill, flops, rate, perToken, bandwidth []float64
	read := m.DecodeBytes(about.Prompt+about.Gen/2, kvElemBytes)
	for rep := range about.Repetitions + 1 {
		// The first token is part of the prefill, so one more is generated than counted.
		r, err := engine.Run(ctx, m, engine.Request{IDs: prompt, MaxNewTokens: about.Gen + 1})
		if err != nil {
			return nil, err
		}
		if rep == 0 {
			continue
		}
		decode := r.Decode().Seconds()
		n := float64(len(r.Steps))
		first = append(first, ms(r.Prefill))
		prefill = append(prefill, float64(about.Prompt)/r.Prefill.Seconds())
		flops = append(flops, m.PrefillFlops(about.Prompt)/r.Prefill.Seconds()/1e9)
		rate = append(rate, n/decode)
		perToken = append(perToken, decode*1e3/n)
		bandwidth = append(bandwidth, float64(read)*n/decode/1e9)
	}
	return &Speeds{
		About: about, FirstToken: newSpread(first),
		PrefillRate: newSpread(prefill), PrefillFlops: newSpread(flops),
		DecodeRate: newSpread(rate), DecodeMS: newSpread(perToken),
		BytesPerToken: read, Bandwidth: newSpread(bandwidth),
		LimitFlops: limits.Compute / 1e9, LimitBandwidth: limits.Read / 1e9,
	}, nil
}

// Verdict is nil: no speed is wrong.
func (r *Speeds) Verdict() error { return nil }

func (r *Speeds) markdown() string {
	var b strings.Builder
	b.WriteString(r.headline())
	b.WriteString("| what | mean ± sd | unit |\n|---|---|---|\n")
	for _, row := range [][3]string{
		{"time to first token", r.FirstToken.String(), "ms"},
		{"prefill", r.PrefillRate.String(), "tokens/s"},
		{"prefill computes", r.PrefillFlops.String(), "GFLOP/s"},
		{"decode", r.DecodeRate.String(), "tokens/s"},
		{"decode", r.DecodeMS.String(), "ms/token"},
		{"decode reads " + show.Bytes(r.BytesPerToken) + " a token", r.Bandwidth.String(), "GB/s"},
	} {
		show.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	if r.LimitBandwidth > 0 {
		show.Fprintf(&b, "\nThe machine reads %s GB/s and computes %s GFLOP/s at most: "+
			"decode is at %.0f %%, prefill at %.0f %%.\n",
			show.Digits(r.LimitBandwidth), show.Digits(r.LimitFlops),
			100*r.Bandwidth.Mean/r.LimitBandwidth, 100*r.PrefillFlops.Mean/r.LimitFlops)
	}
	return b.String()
}

func (r *Speeds) table() [][]string {
	var header, row []string
	add := func(name, value string) { header, row = append(header, name), append(row, value) }
	spread := func(name string, s Spread) {
		add(name, number(s.Mean))
		add(name+"_sd", number(s.SD))
	}
	add("model", show.Line(r.Model))
	add("device", r.Device)
	add("weight_bytes", fmt.Sprint(r.WeightBytes))
	add("weight_type", r.WeightType)
	add("bits_per_weight", number(r.BitsPerWeight))
	add("load_ms", number(r.LoadMS))
	add("n_prompt", fmt.Sprint(r.Prompt))
	add("n_gen", fmt.Sprint(r.Gen))
	add("repetitions", fmt.Sprint(r.Repetitions))
	spread("first_token_ms", r.FirstToken)
	spread("prefill_tokens_per_s", r.PrefillRate)
	spread("decode_tokens_per_s", r.DecodeRate)
	spread("decode_ms_per_token", r.DecodeMS)
	add("decode_bytes_per_token", fmt.Sprint(r.BytesPerToken))
	spread("decode_gb_per_s", r.Bandwidth)
	spread("prefill_gflop_per_s", r.PrefillFlops)
	add("limit_gflop_per_s", number(r.LimitFlops))
	add("limit_gb_per_s", number(r.LimitBandwidth))
	return [][]string{header, row}
}

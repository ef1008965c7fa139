package export

import (
	"fmt"
	"io"
	"io/fs"
	"slices"

	"phi3/internal/gguf"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// quantizationVersion is the version of ggml's quantized formats.
const quantizationVersion = 2

// describe makes the file's metadata and its tensors of RoPE factors, as llama.cpp's converter does for this
// architecture.
func (p *Plan) describe(fsys fs.FS, title string) error {
	c := p.checkpoint.Config
	add := func(key string, value any) { p.metadata = append(p.metadata, gguf.KV{Key: key, Value: value}) }
	size := func(key string, value int) { add(gguf.Architecture+"."+key, uint32(value)) }
	number := func(key string, value float32) { add(gguf.Architecture+"."+key, value) }

	tokenizer, err := gguf.TokenizerMetadata(fsys, c.VocabSize)
	if err != nil {
		return err
	}
	name, err := gguf.ModelName(title, tokenizer)
	if err != nil {
		return err
	}
	add("general.architecture", gguf.Architecture)
	add("general.type", "model")
	add("general.name", name)
	add("general.file_type", gguf.FileType(weight.Sum(p.Made).Format))
	add("general.quantization_version", uint32(quantizationVersion))
	size("context_length", c.MaxPositions)
	size("embedding_length", c.HiddenSize)
	size("feed_forward_length", c.IntermediateSize)
	size("block_count", c.Layers)
	size("attention.head_count", c.Heads)
	size("attention.head_count_kv", c.KVHeads)
	size("attention.sliding_window", c.SlidingWindow) // 0: none
	number("attention.layer_norm_rms_epsilon", c.RMSNormEps)
	if c.HeadDim*c.Heads != c.HiddenSize {
		size("attention.key_length", c.HeadDim)
		size("attention.value_length", c.HeadDim)
	}
	if err := p.describeRoPE(&c.RoPE, size, number); err != nil {
		return err
	}
	p.metadata = append(p.metadata, tokenizer...)
	p.addEnds(c.EOS)
	return nil
}

func (p *Plan) describeRoPE(r *model.RoPEConfig, size func(string, int), number func(string, float32)) error {
	if float64(float32(r.Theta)) != r.Theta {
		return fmt.Errorf("rope_theta is %g, which is not a float32: GGUF cannot store it", r.Theta)
	}
	number("rope.freq_base", float32(r.Theta))
	size("rope.dimension_count", r.Dim-r.OddDim%2)
	if r.OriginalMax > 0 {
		size("rope.scaling.original_context_length", r.OriginalMax)
	}
	if r.LongFactor == nil {
		return nil
	}
	number("rope.scaling.attn_factor", float32(r.AttentionFactor))
	for _, f := range []struct {
		name   string
		values []float32
	}{{gguf.LongFactorsName, r.LongFactor}, {gguf.ShortFactorsName, r.ShortFactor}} {
		p.factors = append(p.factors, gguf.Entry{
			Name: f.name, Format: weight.F32, Shape: []int{len(f.values)},
			WriteTo: func(w io.Writer) error { return writeFloats(w, f.values) },
		})
	}
	return nil
}

// addEnds adds the ids of tokens that end a text and that the tokenizer's metadata does not have. GGUF has
// three keys for such ids, and a text ends at any of them. Ids for which no key is left are dropped.
func (p *Plan) addEnds(ends []int32) {
	const prefix, suffix = "tokenizer.ggml.", "_token_id"
	have := map[string]any{}
	for _, kv := range p.metadata {
		have[kv.Key] = kv.Value
	}
	kinds := []string{"eos", "eot", "eom"}
	for _, end := range ends {
		isEnd := func(kind string) bool { return have[prefix+kind+suffix] == uint32(end) }
		if slices.ContainsFunc(kinds, isEnd) {
			continue
		}
		for _, kind := range kinds {
			if key := prefix + kind + suffix; have[key] == nil {
				have[key] = uint32(end)
				p.metadata = append(p.metadata, gguf.KV{Key: key, Value: uint32(end)})
				break
			}
		}
	}
}

package gguf

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"phi3/internal/show"
	"phi3/internal/weight"
)

// Architecture is the only value of general.architecture that phi3 runs. It begins the keys of the sizes.
const Architecture = "phi3"

// config is a config.json. Keys that are nil are left out.
type config struct {
	Architectures []string     `json:"architectures"`
	ModelType     string       `json:"model_type"`
	VocabSize     int64        `json:"vocab_size"`
	Hidden        int64        `json:"hidden_size"`
	Intermediate  int64        `json:"intermediate_size"`
	Layers        int64        `json:"num_hidden_layers"`
	Heads         int64        `json:"num_attention_heads"`
	KVHeads       int64        `json:"num_key_value_heads"`
	HeadDim       *int64       `json:"head_dim,omitempty"`
	MaxPositions  int64        `json:"max_position_embeddings"`
	OriginalMax   *int64       `json:"original_max_position_embeddings,omitempty"`
	Eps           float32      `json:"rms_norm_eps"`
	Theta         float32      `json:"rope_theta"`
	Partial       *float64     `json:"partial_rotary_factor,omitempty"`
	RopeScaling   *ropeScaling `json:"rope_scaling"`
	SlidingWindow *int64       `json:"sliding_window"`
	Tied          bool         `json:"tie_word_embeddings"`
	BOS           *int32       `json:"bos_token_id"`
	EOS           *int32       `json:"eos_token_id"`
	Pad           *int32       `json:"pad_token_id"`
	DType         string       `json:"torch_dtype,omitempty"`
}

type ropeScaling struct {
	Type            string    `json:"type"`
	Short           []float32 `json:"short_factor"`
	Long            []float32 `json:"long_factor"`
	AttentionFactor *float32  `json:"attention_factor,omitempty"`
}

// configFiles makes config.json and generation_config.json.
func (c *Checkpoint) configFiles() (map[string][]byte, error) {
	if err := c.checkArchitecture(); err != nil {
		return nil, err
	}
	made := config{Architectures: []string{"Phi3ForCausalLM"}, ModelType: Architecture}
	for _, step := range []func(*config) error{c.sizes, c.rope, c.window, c.vocabulary, c.dtype} {
		if err := step(&made); err != nil {
			return nil, err
		}
	}
	eos, err := c.endTokens(&made)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, content := range map[string]any{
		"config.json": &made,
		"generation_config.json": struct {
			BOS *int32  `json:"bos_token_id"`
			EOS []int32 `json:"eos_token_id"`
			Pad *int32  `json:"pad_token_id"`
		}{made.BOS, eos, made.Pad},
	} {
		if files[name], err = json.MarshalIndent(content, "", "  "); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Meta.file, err)
		}
	}
	return files, nil
}

// checkArchitecture refuses other models, and settings that change what is computed.
func (c *Checkpoint) checkArchitecture() error {
	const key = "general.architecture"
	name, err := c.Meta.Text(key, "")
	switch {
	case err != nil:
		return err
	case name == "":
		return fmt.Errorf("%s: has no key %s, so it is not a model", c.Meta.file, key)
	case name != Architecture:
		return c.Meta.Errorf(key, "is %q; phi3 runs %q, the architecture of Phi-3, 3.5 and 4",
			show.Brief(name), Architecture)
	}
	scaling, err := c.Meta.Text(Architecture+".rope.scaling.type", "none")
	if err == nil && !slices.Contains([]string{"none", "longrope"}, scaling) {
		err = c.Meta.Errorf(Architecture+".rope.scaling.type", "is %q; Phi-3 uses \"longrope\" or none",
			show.Brief(scaling))
	}
	if err != nil {
		return err
	}
	experts, err := c.Meta.Int(Architecture+".expert_count", 0)
	if err == nil && experts != 0 {
		err = c.Meta.Errorf(Architecture+".expert_count", "is %d; phi3 runs models without experts", experts)
	}
	return err
}

// need reads a whole number of the architecture that must be there.
func (c *Checkpoint) need(key string) (int64, error) {
	key = Architecture + "." + key
	if !c.Meta.Has(key) {
		return 0, fmt.Errorf("%s: has no key %s, which every Phi-3 has", c.Meta.file, key)
	}
	return c.Meta.Int(key, 0)
}

// sizes reads the sizes of the model.
func (c *Checkpoint) sizes(made *config) (err error) {
	for _, k := range []struct {
		key string
		n   *int64
	}{
		{"embedding_length", &made.Hidden},
		{"feed_forward_length", &made.Intermediate},
		{"block_count", &made.Layers},
		{"attention.head_count", &made.Heads},
		{"context_length", &made.MaxPositions},
	} {
		if *k.n, err = c.need(k.key); err != nil {
			return err
		}
	}
	if made.KVHeads, err = c.Meta.Int(Architecture+".attention.head_count_kv", made.Heads); err != nil {
		return err
	}
	const eps = Architecture + ".attention.layer_norm_rms_epsilon"
	if !c.Meta.Has(eps) {
		return fmt.Errorf("%s: has no key %s, which every Phi-3 has", c.Meta.file, eps)
	}
	if made.Eps, err = c.float(eps, 0); err != nil {
		return err
	}
	return c.headDim(made)
}

// float reads a finite number as float32.
func (c *Checkpoint) float(key string, otherwise float64) (float32, error) {
	x, err := c.Meta.Float(key, otherwise)
	if y := float64(float32(x)); err == nil && (math.IsNaN(y) || math.IsInf(y, 0)) {
		err = c.Meta.Errorf(key, "is %g, not a finite number", x)
	}
	return float32(x), err
}

// headDim reads the width of a head, where the file gives it, and how much of it RoPE rotates.
func (c *Checkpoint) headDim(made *config) error {
	const (
		keyLength   = Architecture + ".attention.key_length"
		valueLength = Architecture + ".attention.value_length"
	)
	if made.Heads < 1 || made.Hidden < 1 {
		return c.Meta.Errorf(Architecture+".attention.head_count", "is %d, and embedding_length %d; both "+
			"must be at least 1", made.Heads, made.Hidden)
	}
	dim, err := c.Meta.Int(keyLength, made.Hidden/made.Heads)
	if err != nil {
		return err
	}
	if dim < 1 {
		return c.Meta.Errorf(Architecture+".attention.head_count", "is %d: with embedding_length %d, a head "+
			"has the width %d", made.Heads, made.Hidden, dim)
	}
	values, err := c.Meta.Int(valueLength, dim)
	if err == nil && values != dim {
		err = c.Meta.Errorf(valueLength, "is %d, but a head has the width %d: those of a Phi-3 have one "+
			"width", values, dim)
	}
	if err != nil {
		return err
	}
	if c.Meta.Has(keyLength) {
		made.HeadDim = &dim
	}
	const key = Architecture + ".rope.dimension_count"
	rotated, err := c.Meta.Int(key, dim)
	if err != nil || rotated == dim {
		return err
	}
	if rotated < 1 || rotated > dim {
		return c.Meta.Errorf(key, "is %d, not in 1 … %d, the width of a head", rotated, dim)
	}
	partial := float64(rotated) / float64(dim)
	if int64(float64(dim)*partial) < rotated { // the quotient was rounded down
		partial = math.Nextafter(partial, 1)
	}
	made.Partial = &partial
	return nil
}

// rope reads the settings of RoPE.
func (c *Checkpoint) rope(made *config) (err error) {
	if made.Theta, err = c.float(Architecture+".rope.freq_base", 10000); err != nil {
		return err
	}
	const originalKey = Architecture + ".rope.scaling.original_context_length"
	original, err := c.Meta.Int(originalKey, 4096)
	if err != nil {
		return err
	}
	if c.Meta.Has(originalKey) {
		made.OriginalMax = &original
	}
	long, err := c.factors(LongFactorsName)
	if err != nil {
		return err
	}
	short, err := c.factors(ShortFactorsName)
	switch {
	case err != nil:
		return err
	case long == nil && short == nil:
		return nil
	case long == nil || short == nil:
		return fmt.Errorf("%s: has only one of the tensors %s and %s", c.Meta.file, LongFactorsName,
			ShortFactorsName)
	}
	made.RopeScaling = &ropeScaling{Type: "longrope", Short: short, Long: long}
	const factorKey = Architecture + ".rope.scaling.attn_factor"
	if c.Meta.Has(factorKey) {
		factor, err := c.float(factorKey, 1)
		if err != nil {
			return err
		}
		if float64(factor) != float64(float32(attentionFactor(made.MaxPositions, original))) {
			made.RopeScaling.AttentionFactor = &factor
		}
	}
	return nil
}

// attentionFactor is what Hugging Face computes when config.json does not give one (spec 3.2). It has more
// digits than the float32 of a GGUF file.
func attentionFactor(maxPositions, originalMax int64) float64 {
	scale := float64(maxPositions) / float64(originalMax)
	if !(scale > 1) {
		return 1
	}
	return math.Sqrt(1 + math.Log(scale)/math.Log(float64(originalMax)))
}

// maxFactors bounds the numbers of a tensor of RoPE factors: half of the widest head.
const maxFactors = 512

// factors reads a tensor of RoPE factors, nil if there is none.
func (c *Checkpoint) factors(name string) (values []float32, err error) {
	p, t := c.tensor(name)
	if t == nil {
		return nil, nil
	}
	if len(t.shape) != 1 || t.shape[0] < 1 || t.shape[0] > maxFactors || t.format != weight.F32 {
		return nil, fmt.Errorf("%s: tensor %s is %s of shape %v, not F32 with 1 to %d numbers", p.name, name,
			t.format, t.shape, maxFactors)
	}
	tensor := &weight.Tensor{
		Name: name, Format: t.format, Shape: t.shape, Data: p.bytes(t), File: p.name,
		Offset: int64(p.header.data + t.offset),
	}
	err = weight.Guard([]*weight.Tensor{tensor}, func() error {
		values = tensor.Float32s()
		return nil
	})
	for i, v := range values {
		if !(v > 0) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%s: tensor %s [%d] is %g, not a positive number", p.name, name, i, v)
		}
	}
	return values, err
}

// window reads the sliding window. llama.cpp's converter writes 0 if there is none. Converters before July
// 2024 did not write the key; the sizes then say which model it is.
func (c *Checkpoint) window(made *config) error {
	const key = Architecture + ".attention.sliding_window"
	n, err := c.Meta.Int(key, 0)
	if err != nil {
		return err
	}
	if !c.Meta.Has(key) {
		n = publishedWindow(made)
		if n > 0 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s was made by an old converter and does not say "+
				"how many tokens each token sees (%s): phi3 takes %d, as the published model of these sizes",
				c.Meta.file, key, n))
		}
	}
	if n != 0 {
		made.SlidingWindow = &n
	}
	return nil
}

// publishedWindow returns the sliding window of the published model of these sizes, 0 if there is none.
func publishedWindow(made *config) int64 {
	switch {
	case (made.Layers == 32 || made.Layers == 40) && made.MaxPositions == 4096: // mini-4k, medium-4k
		return 2047
	case made.Layers == 32 && made.KVHeads == 32 && made.MaxPositions == 131072: // mini-128k
		return 262144
	case made.Layers == 40 && made.MaxPositions == 131072: // medium-128k
		return 131072
	}
	return 0
}

// vocabulary reads what the embedding table says.
func (c *Checkpoint) vocabulary(made *config) error {
	const name = "token_embd.weight"
	p, t := c.tensor(name)
	if t == nil {
		return fmt.Errorf("%s: has no tensor %s, the embedding table", c.Meta.file, name)
	}
	if len(t.shape) != 2 {
		return fmt.Errorf("%s: tensor %s has %d dimensions, not 2", p.name, name, len(t.shape))
	}
	made.VocabSize = int64(t.shape[0])
	_, head := c.tensor("output.weight")
	made.Tied = head == nil
	return nil
}

// fileTypes are the values of general.file_type: llama.cpp's numbers for the mixture of formats in a file
// (llama_ftype in llama.h). format is set where no mixture has fewer formats besides it.
var fileTypes = map[uint32]struct {
	name   string // as config.json has it
	format weight.Format
}{
	0: {"float32", weight.F32}, 1: {"float16", weight.F16}, 2: {"Q4_0", weight.Q4_0},
	3: {"Q4_1", weight.Q4_1}, 7: {"Q8_0", weight.Q8_0}, 8: {"Q5_0", weight.Q5_0}, 9: {"Q5_1", weight.Q5_1},
	10: {"Q2_K", weight.Q2_K}, 11: {"Q3_K_S", weight.Q3_K}, 12: {"Q3_K_M", 0}, 13: {"Q3_K_L", 0},
	14: {"Q4_K_S", weight.Q4_K}, 15: {"Q4_K_M", 0}, 16: {"Q5_K_S", weight.Q5_K}, 17: {"Q5_K_M", 0},
	18: {"Q6_K", weight.Q6_K}, 25: {"IQ4_NL", weight.IQ4_NL}, 30: {"IQ4_XS", weight.IQ4_XS},
	32: {"bfloat16", weight.BF16},
}

// FileType returns the value of general.file_type for a file most of whose weights have a format. It is 0 for
// a format that has no value.
func FileType(f weight.Format) uint32 {
	for n, t := range fileTypes {
		if t.format == f && f != 0 {
			return n
		}
	}
	return 0
}

// dtype reads how most weights are stored.
func (c *Checkpoint) dtype(made *config) error {
	n, err := c.Meta.Int("general.file_type", -1)
	if n >= 0 && n <= math.MaxUint32 {
		made.DType = fileTypes[uint32(n)].name
	}
	return err
}

package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"phi3/internal/gguf"
	"phi3/internal/safetensors"
	"phi3/internal/strictjson"
)

// Config is a checkpoint's architecture. Every default is filled in and every value is checked (spec
// section 1).
type Config struct {
	// rows of the embedding table and of the LM head; may exceed the tokenizer's vocabulary
	VocabSize        int
	HiddenSize       int     // width of the residual stream
	IntermediateSize int     // width of the MLP
	Layers           int     // decoder layers
	Heads            int     // query heads
	KVHeads          int     // key and value heads; query head h uses kv head h / (Heads/KVHeads)
	HeadDim          int     // width of one head, even
	RMSNormEps       float32 // the norms add it to the mean square
	SlidingWindow    int     // a query sees this many positions, itself included; 0: all of them
	TiedEmbeddings   bool    // the LM head is the embedding table
	HeadDiffers      bool    // config.json says that it is, but the file has another head: see tie
	MaxPositions     int     // the longest sequence the model was made for
	RoPE             RoPEConfig

	Head        Head     // the last matrix product
	Labels      []string // names of a classification head's outputs; nil for an LM head
	ProblemType string   // what a classification head's logits mean, as in config.json; often ""

	BOS int32   // -1: none
	EOS []int32 // generation ends on any of these
	Pad int32   // -1: none

	Notes []string // sentences for the user about how the checkpoint was read

	DType string // what config.json says the weights are stored in, e.g. "bfloat16"; "" if it does not say
}

// RoPEConfig describes the rotary position embedding (spec 3.2).
type RoPEConfig struct {
	Theta float64 // base of the wavelengths, which are a geometric series
	Dim   int     // leading dimensions of a head that rotate, even, ≤ HeadDim
	// OddDim is the number of dimensions that the config asks for, if it is odd; else 0. The frequencies
	// depend on it, and Dim is one more.
	OddDim          int
	ShortFactor     []float32 // [Dim/2] divisors of the frequencies up to OriginalMax tokens; nil: plain RoPE
	LongFactor      []float32 // [Dim/2] divisors beyond OriginalMax tokens; nil: plain RoPE
	OriginalMax     int       // the longest sequence that uses ShortFactor
	AttentionFactor float64   // multiplies cos and sin
}

// note adds a sentence to the notes.
func (c *Config) note(sentence string) { c.Notes = append(c.Notes, sentence) }

// QKVRows returns the number of output rows of qkv_proj: all query heads, then all key heads, then all
// value heads.
func (c *Config) QKVRows() int { return (c.Heads + 2*c.KVHeads) * c.HeadDim }

// Crossing returns the sequence length beyond which the long RoPE factors apply, or 0 for plain RoPE.
func (c *Config) Crossing() int {
	if c.RoPE.LongFactor == nil {
		return 0
	}
	return c.RoPE.OriginalMax
}

// KVBytesPerToken returns the size of one position in the KV cache, for all layers, if an element has
// elemBytes bytes.
func (c *Config) KVBytesPerToken(elemBytes int) int64 {
	return 2 * int64(c.Layers) * int64(c.KVHeads) * int64(c.HeadDim) * int64(elemBytes)
}

// rawConfig is config.json as written. Pointers distinguish an absent key from a zero.
type rawConfig struct {
	HiddenAct    *string  `json:"hidden_act"`
	VocabSize    *int     `json:"vocab_size"`
	Hidden       *int     `json:"hidden_size"`
	Intermediate *int     `json:"intermediate_size"`
	Layers       *int     `json:"num_hidden_layers"`
	Heads        *int     `json:"num_attention_heads"`
	KVHeads      *int     `json:"num_key_value_heads"`
	HeadDim      *int     `json:"head_dim"`
	MaxPositions *int     `json:"max_position_embeddings"`
	OriginalMax  *int     `json:"original_max_position_embeddings"`
	Eps          *float64 `json:"rms_norm_eps"`
	Theta        *float64 `json:"rope_theta"`
	Partial      *float64 `json:"partial_rotary_factor"`
	RopeScaling  *rawRope `json:"rope_scaling"`
	// RopeParams is the one object with RoPE settings in configs that transformers 5 has saved.
	RopeParams    *rawRope        `json:"rope_parameters"`
	SlidingWindow *int            `json:"sliding_window"`
	Tied          bool            `json:"tie_word_embeddings"`
	AttentionBias bool            `json:"attention_bias"`
	MLPBias       bool            `json:"mlp_bias"`
	LMHeadBias    bool            `json:"lm_head_bias"`
	BOS           json.RawMessage `json:"bos_token_id"`
	EOS           json.RawMessage `json:"eos_token_id"`
	Pad           json.RawMessage `json:"pad_token_id"`
	TorchDType    string          `json:"torch_dtype"`
	DType         string          `json:"dtype"`
	Labels        map[string]any  `json:"id2label"`
	NumLabels     *int            `json:"num_labels"`
	ProblemType   string          `json:"problem_type"`

	nulls, ropeNulls map[string]bool // the keys whose value is null, of all and of the RoPE object
}

// MaxConfigBytes bounds the size of a model's JSON files. Real ones have 1 to 5 KB, with the factors of
// long RoPE.
const MaxConfigBytes = 4 << 20

// The program makes a table of the weights before it knows whether the files contain them. For every token of
// a step it allocates buffers that are as wide as the heads, qkv_proj and the MLP. These bounds limit both
// for a config.json whose sizes do not match its weights. Real models have 32 or 40 layers, heads of 96 or
// 128, and an MLP that is 3.5 times as wide as the hidden size.
const (
	maxLayers   = 1 << 12
	maxHeadDim  = 1 << 10
	maxWidening = 2048
)

// ReadConfig reads config.json and, if it exists, generation_config.json. The token ids of the second
// replace those of the first (spec 4.1). A model with a classification head generates no text, so its
// generation_config.json is not read. An error names the file and the key.
func ReadConfig(fsys fs.FS) (*Config, error) {
	data, err := strictjson.ReadFile(fsys, "config.json", MaxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no config.json, %s",
			cmp.Or(safetensors.OtherWeights(fsys), "so this is not a Hugging Face checkpoint directory"))
	}
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, explained(fsys, err)
	}
	if file, ok := fsys.(*gguf.Checkpoint); ok {
		c.Notes = append(c.Notes, file.Notes...)
	}
	if c.Head != LMHead {
		return c, nil
	}
	data, err = strictjson.ReadFile(fsys, "generation_config.json", MaxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	var gen rawConfig
	if err := strictjson.Unmarshal(data, &gen); err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	if err := gen.tokenIDs(c); err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	return c, nil
}

// ParseConfig reads the text of a config.json. An error names the file and the key.
func ParseConfig(text []byte) (*Config, error) {
	head, note, err := identify(text) // first: another family's keys may have other types
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	var raw rawConfig
	if err := strictjson.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	raw.findNulls(text)
	c, err := raw.config(head)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if note != "" {
		c.note(note)
	}
	return c, nil
}

// config fills in the defaults of transformers' Phi3Config and checks every value.
func (r *rawConfig) config(head Head) (*Config, error) {
	if act := or(r.HiddenAct, "silu"); act != "silu" && act != "swish" {
		return nil, fmt.Errorf("hidden_act is %q; Phi-3 uses \"silu\"", act)
	}
	for _, key := range requiredKeys {
		if r.nulls[key] {
			return nil, fmt.Errorf("%s is null, not a value; leave the key out for the usual one", key)
		}
	}
	c := &Config{
		VocabSize:        or(r.VocabSize, 32064),
		HiddenSize:       or(r.Hidden, 3072),
		IntermediateSize: or(r.Intermediate, 8192),
		Layers:           or(r.Layers, 32),
		Heads:            or(r.Heads, 32),
		RMSNormEps:       float32(or(r.Eps, 1e-5)),
		SlidingWindow:    or(r.SlidingWindow, 0),
		TiedEmbeddings:   r.Tied && head == LMHead,
		MaxPositions:     or(r.MaxPositions, 4096),
		BOS:              1,
		EOS:              []int32{32000},
		Pad:              32000,
		DType:            cmp.Or(r.TorchDType, r.DType),
		Head:             head,
	}
	c.KVHeads = or(r.KVHeads, c.Heads)
	r.noteBiases(c)
	for _, step := range []func(*Config) error{
		r.sizes, r.headDim, r.windowAndNorm, r.rope, r.labels, r.tokenIDs,
	} {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// maxSize bounds every size. Published models are far below it. It keeps the product of two sizes within
// 64 bits, and it prevents a hostile file from asking for absurd amounts of memory.
const maxSize = 1 << 24

// sizes checks the sizes that config.json gives.
func (r *rawConfig) sizes(c *Config) error {
	for _, s := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize},
		{"hidden_size", c.HiddenSize},
		{"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.Layers},
		{"num_attention_heads", c.Heads},
		{"num_key_value_heads", c.KVHeads},
		{"max_position_embeddings", c.MaxPositions},
	} {
		if s.value < 1 || s.value > maxSize {
			return fmt.Errorf("%s is %d, not in 1 … %d", s.key, s.value, maxSize)
		}
	}
	if c.Layers > maxLayers {
		return fmt.Errorf("num_hidden_layers is %d, more than %d", c.Layers, maxLayers)
	}
	return nil
}

// headDim sets the head dimension, and checks the heads and what depends on their size.
func (r *rawConfig) headDim(c *Config) error {
	if c.Heads%c.KVHeads != 0 {
		return fmt.Errorf("num_attention_heads (%d) is not a multiple of num_key_value_heads (%d)",
			c.Heads, c.KVHeads)
	}
	if r.HeadDim == nil && c.HiddenSize%c.Heads != 0 {
		return fmt.Errorf("hidden_size (%d) is not a multiple of num_attention_heads (%d)", c.HiddenSize,
			c.Heads)
	}
	c.HeadDim = or(r.HeadDim, c.HiddenSize/c.Heads)
	if c.HeadDim < 2 || c.HeadDim%2 != 0 || c.HeadDim > maxHeadDim {
		return fmt.Errorf("the head dimension is %d, not an even number in 2 … %d", c.HeadDim, maxHeadDim)
	}
	if c.QKVRows() > maxSize {
		return fmt.Errorf("%d + 2·%d heads of %d make %d rows of qkv_proj, more than %d", c.Heads,
			c.KVHeads, c.HeadDim, c.QKVRows(), maxSize)
	}
	for _, s := range []struct {
		what  string
		width int
	}{{"intermediate_size", c.IntermediateSize}, {"qkv_proj's rows", c.QKVRows()}} {
		if s.width > maxWidening*c.HiddenSize {
			return fmt.Errorf("%s (%d) is more than %d times hidden_size (%d)", s.what, s.width,
				maxWidening, c.HiddenSize)
		}
	}
	return nil
}

// windowAndNorm checks the sliding window and the norms' epsilon.
func (r *rawConfig) windowAndNorm(c *Config) error {
	if r.SlidingWindow != nil && c.SlidingWindow < 1 {
		return fmt.Errorf("sliding_window is %d, so no token would see any; null means that each sees "+
			"all before it", c.SlidingWindow)
	}
	if eps := float64(c.RMSNormEps); !(eps >= 0) || math.IsInf(eps, 0) {
		return fmt.Errorf("rms_norm_eps is %g, not a number from 0 up", or(r.Eps, 0))
	}
	return nil
}

// requiredKeys are the keys that transformers allows to be absent but not to be null.
var requiredKeys = []string{
	"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
	"max_position_embeddings",
	"original_max_position_embeddings", "rms_norm_eps", "hidden_act",
}

// noteBiases adds a note if the config asks for biases. No Phi-3 has any, and transformers ignores the
// keys too.
func (r *rawConfig) noteBiases(c *Config) {
	for _, bias := range []struct {
		key string
		set bool
	}{{"attention_bias", r.AttentionBias}, {"mlp_bias", r.MLPBias}, {"lm_head_bias", r.LMHeadBias}} {
		if bias.set {
			c.note("config.json says " + bias.key +
				"; a Phi-3 has no biases, and phi3 ignores this, as transformers does")
		}
	}
}

// findNulls sets nulls and ropeNulls. text is a config.json that has been read without error.
func (r *rawConfig) findNulls(text []byte) {
	nulls := func(text []byte) (object map[string]json.RawMessage, keys map[string]bool) {
		keys = map[string]bool{}
		_ = json.Unmarshal(text, &object)
		for key, value := range object {
			keys[key] = string(value) == "null"
		}
		return object, keys
	}
	object, keys := nulls(text)
	r.nulls = keys
	_, key := r.ropeObject()
	_, r.ropeNulls = nulls(object[key])
}

// tokenIDs reads the special ids that are given. eos_token_id may be a number or a list.
func (r *rawConfig) tokenIDs(c *Config) error {
	for _, k := range []struct {
		key string
		raw json.RawMessage
		set func([]int32)
	}{
		{"bos_token_id", r.BOS, func(ids []int32) { c.BOS = firstOr(ids, -1) }},
		{"eos_token_id", r.EOS, func(ids []int32) { c.EOS = ids }},
		{"pad_token_id", r.Pad, func(ids []int32) { c.Pad = firstOr(ids, -1) }},
	} {
		if k.raw == nil {
			continue
		}
		ids, err := parseIDs(k.raw)
		if err != nil {
			return fmt.Errorf("%s: %w", k.key, err)
		}
		k.set(ids)
	}
	return nil
}

// parseIDs reads null, one id, or a list of ids.
func parseIDs(raw json.RawMessage) ([]int32, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	var id int32
	if json.Unmarshal(raw, &id) == nil {
		return []int32{id}, nil
	}
	var ids []int32
	if err := json.Unmarshal(raw, &ids); err != nil {
		return nil, fmt.Errorf("%.40s is neither a token id nor a list of them", raw)
	}
	return ids, nil
}

func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}

func firstOr(ids []int32, otherwise int32) int32 {
	if len(ids) == 0 {
		return otherwise
	}
	return ids[0]
}

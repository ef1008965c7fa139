package gguf

import "strings"

// Explain replaces what an error says of config.json by what it was made from: the keys of the metadata. Its
// text begins with the name of the GGUF file where it began with that of config.json.
func (c *Checkpoint) Explain(err error) error {
	if err == nil {
		return nil
	}
	file := c.Meta.file + ": "
	pairs := []string{"generation_config.json: ", file, "config.json: ", file, "config.json", "the metadata"}
	return &explained{strings.NewReplacer(append(pairs, madeFrom...)...).Replace(err.Error()), err}
}

// madeFrom pairs the keys of config.json with what they are made from. Where one begins with another, it is
// first.
var madeFrom = []string{
	"vocab_size", "the number of rows of token_embd.weight",
	"hidden_size", Architecture + ".embedding_length",
	"intermediate_size", Architecture + ".feed_forward_length",
	"num_hidden_layers", Architecture + ".block_count",
	"num_attention_heads", Architecture + ".attention.head_count",
	"num_key_value_heads", Architecture + ".attention.head_count_kv",
	"head_dim", Architecture + ".attention.key_length",
	"original_max_position_embeddings", Architecture + ".rope.scaling.original_context_length",
	"max_position_embeddings", Architecture + ".context_length",
	"rms_norm_eps", Architecture + ".attention.layer_norm_rms_epsilon",
	"rope_theta", Architecture + ".rope.freq_base",
	"partial_rotary_factor", Architecture + ".rope.dimension_count",
	"rope_scaling.short_factor", ShortFactorsName,
	"rope_scaling.long_factor", LongFactorsName,
	"rope_scaling", Architecture + ".rope.scaling",
	"sliding_window", Architecture + ".attention.sliding_window",
}

// explained is an error with another text.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

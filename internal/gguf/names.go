package gguf

import (
	"strconv"
	"strings"
)

// names pairs the names that GGUF and Hugging Face give the tensors of a Phi-3. # stands for a layer's
// number.
var names = [...]struct{ gguf, huggingFace string }{
	{"token_embd.weight", "model.embed_tokens.weight"},
	{"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
	{"blk.#.attn_qkv.weight", "model.layers.#.self_attn.qkv_proj.weight"},
	{"blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight"},
	{"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
	{"blk.#.ffn_up.weight", "model.layers.#.mlp.gate_up_proj.weight"},
	{"blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight"},
	{"output_norm.weight", "model.norm.weight"},
	{"output.weight", "lm_head.weight"},
}

// The tensors that hold the factors of long RoPE, which Hugging Face keeps in config.json.
const (
	LongFactorsName  = "rope_factors_long.weight"
	ShortFactorsName = "rope_factors_short.weight"
)

// HuggingFaceName returns the name that Hugging Face gives a tensor of a GGUF file. A tensor that a Phi-3
// does not have keeps its name.
func HuggingFaceName(name string) string {
	for _, n := range names {
		if other, ok := translate(name, n.gguf, n.huggingFace); ok {
			return other
		}
	}
	return name
}

// FileName returns the name that a GGUF file gives a tensor of a Hugging Face checkpoint, and whether GGUF
// has one.
func FileName(name string) (string, bool) {
	for _, n := range names {
		if other, ok := translate(name, n.huggingFace, n.gguf); ok {
			return other, true
		}
	}
	return "", false
}

// translate puts the layer's number of name, which must be of the form from, into the form to.
func translate(name, from, to string) (string, bool) {
	before, after, ok := strings.Cut(from, "#")
	if !ok {
		return to, name == from
	}
	number, okBefore := strings.CutPrefix(name, before)
	number, okAfter := strings.CutSuffix(number, after)
	n, err := strconv.Atoi(number)
	if !okBefore || !okAfter || err != nil || strconv.Itoa(n) != number || n < 0 {
		return "", false // not 007, which is another name for the same tensor
	}
	return strings.Replace(to, "#", number, 1), true
}

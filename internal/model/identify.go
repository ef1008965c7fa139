package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// relatives are models with Phi in their name that are not a Phi3ForCausalLM (spec section 1). prefix is
// the beginning of their architecture or model_type, in small letters and without _ and -. The first
// match counts.
var relatives = []struct{ prefix, name, why string }{
	{"phi3small", "Phi-3-small", "it has block-sparse attention, LayerNorm, biases and another activation"},
	{"phi3v", "Phi-3-vision", "it also reads images, with an encoder of its own"},
	{
		"phimoe", "a Phi mixture of experts (Phi-3.5-MoE)",
		"it has 16 experts a layer and a router, LayerNorm and biases",
	},
	{"phi4mm", "Phi-4-multimodal", "it also reads images and sound, with LoRA adapters for each"},
	{"phi4multimodal", "Phi-4-multimodal", "it also reads images and sound, with LoRA adapters for each"},
	{"phi4flash", "Phi-4-mini-flash", "most of its layers are state-space layers, and its attention is " +
		"differential"},
	{"phi4siglip", "Phi-4-reasoning-vision", "it also reads images, with an encoder of its own"},
	{"phi4forcausallmv", "Phi-4-reasoning-vision", "it also reads images, with an encoder of its own"},
	{"mixformersequential", "phi-1 or phi-2", "its layers are parallel blocks with LayerNorm and biases"},
	{"phiforcausallm", "phi-1 or phi-2", "its layers are parallel blocks with LayerNorm and biases"},
	{"phi3model", "a Phi-3 without a head", "there is nothing to predict with"},
}

const (
	runs       = "this program runs Phi3ForCausalLM and Phi-3's classification heads"
	original   = "this program reads BF16, F16 and F32 weights: take the checkpoint that it was made from"
	llamaShape = "Phi models are also published in the shape of Llama and Mistral, with q_proj, k_proj and " +
		"v_proj " +
		"apart, and this checkpoint has that shape. phi3 cannot run it yet: use the model's " +
		"Phi3ForCausalLM checkpoint"
)

// identify returns the head that a config.json describes. For a model of another family, and for
// quantized weights, it returns an error that names them. The note is for the user; it may be empty.
func identify(text []byte) (head Head, note string, err error) {
	var c struct {
		Architectures      []string        `json:"architectures"`
		ModelType          string          `json:"model_type"`
		QuantizationConfig json.RawMessage `json:"quantization_config"`
		Quantization       json.RawMessage `json:"quantization"` // the key that MLX writes
	}
	if err := strictjson.Unmarshal(text, &c); err != nil {
		return 0, "", err
	}
	if c.ModelType == "" && len(c.Architectures) == 0 {
		return 0, "", fmt.Errorf("neither architectures nor model_type is given; %s", runs)
	}
	for _, name := range append(slices.Clone(c.Architectures), c.ModelType) {
		plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
		for _, r := range relatives {
			if strings.HasPrefix(plain, r.prefix) {
				return 0, "", fmt.Errorf("%s is %s: %s; %s", show.Brief(name), r.name, r.why, runs)
			}
		}
	}
	if head, note, err = headOf(c.Architectures, c.ModelType); err != nil {
		return 0, "", err
	}
	for _, q := range []json.RawMessage{c.QuantizationConfig, c.Quantization} {
		if len(q) > 0 && string(q) != "null" {
			return 0, "", quantized(q)
		}
	}
	return head, note, nil
}

// headOf returns the head for the architecture's name. Transformers uses model_type, so if that is phi3,
// other names are accepted too: programs that wrap a model, for example to train it, save the name of the
// wrapper (PeftModelForCausalLM, FSDPPhi3ForCausalLM).
func headOf(names []string, modelType string) (head Head, note string, err error) {
	all := show.Brief(strings.Join(names, ", "))
	i := slices.IndexFunc(architectures[:], func(a string) bool { return slices.Contains(names, a) })
	if i >= 0 || len(names) == 0 {
		if modelType != "" && modelType != "phi3" {
			return 0, "", fmt.Errorf("model_type is %q, not \"phi3\"; %s", show.Brief(modelType), runs)
		}
		return Head(max(i, 0)), "", nil
	}
	if inLlamaShape(names, modelType) {
		return 0, "", fmt.Errorf("the architecture is %s. %s", all, llamaShape)
	}
	if modelType != "phi3" {
		return 0, "", fmt.Errorf("the architecture is %s, which is not a Phi-3; %s", all, runs)
	}
	if strings.Contains(names[0], "For") {
		head = Head(slices.IndexFunc(architectures[:], func(a string) bool {
			return strings.HasSuffix(names[0], strings.TrimPrefix(a, "Phi3"))
		}))
	}
	if head < 0 {
		return 0, "", fmt.Errorf("the architecture is %s, whose head is none of Phi-3's; %s", all, runs)
	}
	return head, fmt.Sprintf("the architecture is %s; model_type is phi3, so it is read as %s", all,
		head), nil
}

// inLlamaShape reports whether the architecture computes the same as Phi-3 with other tensors.
func inLlamaShape(names []string, modelType string) bool {
	return modelType == "llama" || modelType == "mistral" ||
		slices.Contains(names, "LlamaForCausalLM") || slices.Contains(names, "MistralForCausalLM")
}

// quantized returns the error for quantized weights. It names the method if the config does.
func quantized(config json.RawMessage) error {
	var q struct {
		Method string `json:"quant_method"`
	}
	if strictjson.Unmarshal(config, &q) != nil || q.Method == "" {
		return errors.New("the weights are quantized; " + original)
	}
	return fmt.Errorf("the weights are quantized (%s); %s", q.Method, original)
}

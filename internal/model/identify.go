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

// relatives are models with Phi in their name that are something else than Phi3ForCausalLM (spec section 1),
// by the beginning of their architecture or model_type in small letters and without _ and -. The first match
// counts.
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

// identify says which head a config.json describes, and refuses by name what is not of this family, or not as
// it was published. The note, if there is one, is for the user.
func identify(text []byte) (head Head, note string, err error) {
	var c struct {
		Architectures      []string        `json:"architectures"`
		ModelType          string          `json:"model_type"`
		QuantizationConfig json.RawMessage `json:"quantization_config"`
		Quantization       json.RawMessage `json:"quantization"` // as MLX has it
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

// headOf tells the head by the architecture's name. Transformers builds what model_type says, so where that
// is phi3, other names count too: programs that wrap a model, as for training, save the wrapper's
// (PeftModelForCausalLM, FSDPPhi3ForCausalLM).
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

// inLlamaShape tells whether the architecture is one whose mathematics is Phi-3's.
func inLlamaShape(names []string, modelType string) bool {
	return modelType == "llama" || modelType == "mistral" ||
		slices.Contains(names, "LlamaForCausalLM") || slices.Contains(names, "MistralForCausalLM")
}

// quantized is the refusal of quantized weights, with the method's name where there is one.
func quantized(config json.RawMessage) error {
	var q struct {
		Method string `json:"quant_method"`
	}
	if strictjson.Unmarshal(config, &q) != nil || q.Method == "" {
		return errors.New("the weights are quantized; " + original)
	}
	return fmt.Errorf("the weights are quantized (%s); %s", q.Method, original)
}

package generate

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"phi3/internal/model"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// A checkpoint with a NaN, an infinity or a number that overflows must be called damaged, with the place, and
// not answer with token 0.
func TestDamagedWeights(t *testing.T) {
	c, err := model.ReadConfig(mini)
	require.NoError(t, err)
	config, err := fs.ReadFile(mini, "config.json")
	require.NoError(t, err)
	const overflow = "no weight is, but the numbers overflow "
	for _, test := range []struct {
		tensor string
		at     int // element
		value  float64
		dtype  weight.Format
		token  int // whose logit is the first one that suffers
		reason string
	}{
		{"model.norm.weight", 0, math.NaN(), weight.F32, 0, "NaN or infinite at [0]"},
		{
			"lm_head.weight", 200 * c.HiddenSize, math.NaN(), weight.BF16, 200,
			"NaN or infinite at [200 0]",
		},
		{
			"lm_head.weight", 330*c.HiddenSize + 7, math.Inf(1), weight.F16, 330,
			"NaN or infinite at [330 7]",
		},
		{
			"model.layers.1.mlp.down_proj.weight", 3, math.NaN(), weight.F16, 0,
			"NaN or infinite at [0 3]",
		},
		{
			"model.layers.0.self_attn.qkv_proj.weight", 3, math.Inf(1), weight.F32, 0,
			"NaN or infinite at [0 3]",
		},
		{
			"model.embed_tokens.weight", int(prompt[0]) * c.HiddenSize, math.Inf(-1), weight.BF16, 0,
			fmt.Sprintf("NaN or infinite at [%d 0]", prompt[0]),
		},
		{"model.layers.1.mlp.down_proj.weight", 3, 3e38, weight.F32, 0, overflow + "in layer 2"},
		{"model.norm.weight", 0, math.MaxFloat32, weight.F32, 0, overflow + "after the last layer"},
	} {
		var sources []safetensors.Entry
		for _, spec := range c.Tensors() {
			n := 1
			for _, d := range spec.Shape {
				n *= d
			}
			sources = append(sources, safetensors.Entry{
				Name: spec.Name, Format: test.dtype,
				Shape: spec.Shape, WriteTo: func(w io.Writer) error {
					var data []byte
					for i := range n {
						value := 0.5
						if spec.Name == test.tensor && i == test.at {
							value = test.value
						}
						data = appendNumber(data, value, test.dtype)
					}
					_, err := w.Write(data)
					return err
				},
			})
		}
		var file bytes.Buffer
		require.NoError(t, safetensors.Write(&file, sources, nil))
		m := open(t, fstest.MapFS{"config.json": {Data: config}, "model.safetensors": {Data: file.Bytes()}},
			0)
		for _, o := range []Options{
			{MaxNewTokens: 1},               // found by Argmax
			{MaxNewTokens: 1, Logits: true}, // found in the logits
		} {
			r, err := Run(context.Background(), m, prompt, o)
			require.ErrorContains(t, err,
				fmt.Sprintf("the logit of token %d after 5 tokens is NaN or infinite: ", test.token), test)
			require.ErrorContains(t, err, test.reason, test)
			if !strings.HasPrefix(test.reason, overflow) {
				require.ErrorContains(t, err,
					fmt.Sprintf("the checkpoint is damaged: model.safetensors: tensor %q is", test.tensor))
			}
			require.Empty(t, r.IDs)
		}
	}
}

// appendNumber appends a number as a tensor stores it, cut and not rounded.
func appendNumber(data []byte, v float64, dtype weight.Format) []byte {
	bits := math.Float32bits(float32(v))
	switch dtype {
	case weight.BF16:
		return binary.LittleEndian.AppendUint16(data, uint16(bits>>16))
	case weight.F16:
		return binary.LittleEndian.AppendUint16(data, float16.Fromfloat32(float32(v)).Bits())
	}
	return binary.LittleEndian.AppendUint32(data, bits)
}

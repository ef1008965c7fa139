package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"sync"
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
		m, _ := openOn(t, fstest.MapFS{
			"config.json": {Data: config}, "model.safetensors": {Data: file.Bytes()},
		}, 2, model.Options{})
		for _, request := range []Request{
			{IDs: prompt, MaxNewTokens: 1},                       // found by Argmax
			{IDs: prompt, MaxNewTokens: 1, LogProbs: true},       // found in the logits
			{IDs: prompt, MaxNewTokens: 1, PromptLogProbs: true}, // found in the logits of the whole prompt
		} {
			r, err := Run(context.Background(), m, request)
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

// A logit that is NaN or infinite in the middle of a text ends this text after the tokens before it, and no
// other.
func TestDamageInTheMiddle(t *testing.T) {
	m, h := openOn(t, mini, 2, model.Options{Context: 256, Sequences: 2})
	request := Request{IDs: prompt, MaxNewTokens: 9}
	free, err := Run(context.Background(), m, request)
	require.NoError(t, err)
	for _, parallel := range []int{1, 2} {
		steps := 0
		h.chosen = func(next []int32) {
			if len(next) == parallel {
				if steps++; steps == 3 {
					next[0] = ^next[0]
				}
			}
		}
		e := New(m, Options{Parallel: parallel})
		h.before = func(int) {
			for s := e.Stats(); s.Running+s.Waiting < parallel; s = e.Stats() { // the first step waits
				runtime.Gosched()
			}
			h.before = nil
		}
		ids, errs := make([][]int32, parallel), make([]error, parallel)
		var wait sync.WaitGroup
		for i := range parallel {
			wait.Go(func() {
				for token, err := range e.Generate(context.Background(), request) {
					if errs[i] = err; err == nil {
						ids[i] = append(ids[i], token.ID)
					}
				}
			})
		}
		wait.Wait()
		e.Close()
		failed := 0
		for i, err := range errs {
			if err == nil {
				require.Equal(t, free.IDs, ids[i])
				continue
			}
			failed++
			n := len(ids[i])
			require.GreaterOrEqual(t, n, 2)
			require.Equal(t, free.IDs[:n], ids[i])
			require.ErrorContains(t, err, fmt.Sprintf("the logit of token %d after %d tokens is NaN or "+
				"infinite: ", free.IDs[n], len(prompt)+n))
		}
		require.Equal(t, 1, failed)
		require.Zero(t, m.Pool().InUse())
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

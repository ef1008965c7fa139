package randomckpt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// tiny is a Phi-3 with grouped heads whose head size is not hidden/heads, and a comment that must survive.
const tiny = `{"model_type": "phi3", "vocab_size": 50, "hidden_size": 12, "intermediate_size": 20,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
	"eos_token_id": [7, 9], "bos_token_id": null,
	"rope_theta": 10000.0, "torch_dtype": "bfloat16"}`

func tinyOptions(dir string) Options {
	return Options{Dir: dir, Config: []byte(tiny), Format: weight.BF16, Seed: 1, ShardBytes: 4000}
}

func open(t *testing.T, dir string) *safetensors.Checkpoint {
	t.Helper()
	c, err := safetensors.Open(os.DirFS(dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// readDir returns the contents of every file of a directory, hidden ones too.
func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(text)
	}
	return files
}

func TestNamesAndShapes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	require.NoError(t, Write(context.Background(), tinyOptions(dir)))
	want := map[string][]int{
		"model.embed_tokens.weight":                      {50, 12},
		"model.layers.0.input_layernorm.weight":          {12},
		"model.layers.0.mlp.down_proj.weight":            {12, 20},
		"model.layers.0.mlp.gate_up_proj.weight":         {40, 12},
		"model.layers.0.post_attention_layernorm.weight": {12},
		"model.layers.0.self_attn.o_proj.weight":         {12, 24},
		"model.layers.0.self_attn.qkv_proj.weight":       {48, 12},
		"model.layers.1.input_layernorm.weight":          {12},
		"model.layers.1.mlp.down_proj.weight":            {12, 20},
		"model.layers.1.mlp.gate_up_proj.weight":         {40, 12},
		"model.layers.1.post_attention_layernorm.weight": {12},
		"model.layers.1.self_attn.o_proj.weight":         {12, 24},
		"model.layers.1.self_attn.qkv_proj.weight":       {48, 12},
		"model.norm.weight":                              {12},
		"lm_head.weight":                                 {50, 12},
	}
	c := open(t, dir)
	got := map[string][]int{}
	var total int64
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		require.Equal(t, weight.BF16, x.Format)
		got[name] = x.Shape
		total += int64(2 * x.Elems())
	}
	require.Equal(t, want, got)
	// 1200 + 576+1152+960 | 480+24+24 + 576+1152+960 | 480+24+24+24+1200 bytes
	require.Equal(t, []string{
		"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
		"model-00003-of-00003.safetensors",
	}, c.Files())

	files := readDir(t, dir)
	require.Len(t, files, 6)
	var index struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		} `json:"metadata"`
	}
	require.NoError(t, json.Unmarshal([]byte(files["model.safetensors.index.json"]), &index))
	require.Equal(t, total, index.Metadata.TotalSize)
	require.Equal(t, total, c.DataBytes())
	require.JSONEq(t, tiny, files["config.json"])
	require.JSONEq(t, `{"eos_token_id": [7, 9]}`, files["generation_config.json"])
}

func TestSeed(t *testing.T) {
	one, again, other := t.TempDir(), t.TempDir(), t.TempDir()
	o := tinyOptions(one)
	require.NoError(t, Write(context.Background(), o))
	o.Dir = again
	require.NoError(t, Write(context.Background(), o))
	o.Dir, o.Seed = other, 2
	require.NoError(t, Write(context.Background(), o))
	require.Equal(t, readDir(t, one), readDir(t, again))

	a, b := open(t, one), open(t, other)
	seen := map[string]string{}
	for _, name := range a.Names() {
		x, _ := a.Tensor(name)
		y, _ := b.Tensor(name)
		require.NotEqual(t, x.Data, y.Data, name)
		require.Empty(t, seen[string(x.Data)], "%s has the same weights", name)
		seen[string(x.Data)] = name
	}
}

// TestOneFile: what fits in one file has no index, and the cut into shards does not change a weight.
func TestOneFile(t *testing.T) {
	many, single := t.TempDir(), t.TempDir()
	o := tinyOptions(many)
	require.NoError(t, Write(context.Background(), o))
	o.Dir, o.ShardBytes = single, 1<<20
	require.NoError(t, Write(context.Background(), o))
	a, b := open(t, many), open(t, single)
	require.Equal(t, []string{"model.safetensors"}, b.Files())
	require.NotContains(t, readDir(t, single), "model.safetensors.index.json")
	require.Equal(t, a.Names(), b.Names())
	for _, name := range a.Names() {
		x, _ := a.Tensor(name)
		y, _ := b.Tensor(name)
		require.Equal(t, x.Data, y.Data)
	}
}

// TestChunks: a tensor of several chunks and an odd end is the same bytes from any number of cores as from
// one loop.
func TestChunks(t *testing.T) {
	const elems = 2*chunkElems + 7
	for _, dtype := range []weight.Format{weight.BF16, weight.F32} {
		width := dtype.Bits() / 8
		values := newTable(normal, dtype)
		want := make([]byte, elems*width)
		values.fill(want, width, 42, 0)
		for _, cores := range []int{1, 5} {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			var got bytes.Buffer
			require.NoError(t, values.writeTensor(context.Background(), &got, elems, width, 42))
			require.True(t, bytes.Equal(want, got.Bytes()), "%s on %d cores", dtype, cores)
		}
	}
}

// TestDistribution compares moments with those asked for; with 400,000 draws the bounds are over six standard
// errors.
func TestDistribution(t *testing.T) {
	const n = 400_000
	for _, dtype := range []weight.Format{weight.BF16, weight.F16, weight.F32} {
		draw := func(quantile func(float64) float64) (mean, deviation, correlation float64,
			values []float64,
		) {
			width := dtype.Bits() / 8
			data := make([]byte, n*width)
			newTable(quantile, dtype).fill(data, width, tensorKey(3, "x"), 0)
			var sum, squares, products float64
			numbers := make([]float32, n)
			weight.Widen(numbers, data, dtype)
			for _, x := range numbers {
				values = append(values, float64(x))
				sum += float64(x)
				squares += float64(x) * float64(x)
			}
			mean = sum / n
			deviation = math.Sqrt(squares/n - mean*mean)
			for i := 1; i < n; i++ {
				products += (values[i] - mean) * (values[i-1] - mean)
			}
			return mean, deviation, products / n / (deviation * deviation), values
		}
		mean, deviation, correlation, values := draw(normal)
		require.InDelta(t, 0, mean, 0.0002)
		require.InDelta(t, 0.02, deviation, 0.0002)
		require.InDelta(t, 0, correlation, 0.01)
		require.InDelta(t, 0.085, slices.Max(values), 0.01)

		mean, deviation, _, values = draw(nearOne)
		require.InDelta(t, 1, mean, 0.001)
		require.InDelta(t, 0.2/math.Sqrt(12), deviation, 0.001)
		require.GreaterOrEqual(t, slices.Min(values), 0.89)
		require.LessOrEqual(t, slices.Max(values), 1.11)
	}
}

func TestFormats(t *testing.T) {
	for dtype, name := range map[weight.Format]string{
		weight.F16: "float16",
		weight.F32: "float32",
	} {
		o := tinyOptions(t.TempDir())
		o.Format = dtype
		require.NoError(t, Write(context.Background(), o))
		for _, tensor := range open(t, o.Dir).Names() {
			x, _ := open(t, o.Dir).Tensor(tensor)
			require.Equal(t, dtype, x.Format)
		}
		require.Contains(t, readDir(t, o.Dir)["config.json"], `"torch_dtype": "`+name+`"`)
	}
	newName, err := setDType([]byte(`{"dtype": "bfloat16"}`), "float16")
	require.NoError(t, err)
	require.JSONEq(t, `{"dtype": "float16"}`, string(newName))
}

func TestTokenizerIsCopied(t *testing.T) {
	from := t.TempDir()
	o := tinyOptions(t.TempDir())
	o.TokenizerDir = from
	require.ErrorContains(t, Write(context.Background(), o), "tokenizer.json")
	require.Empty(t, readDir(t, o.Dir)) // found out before writing

	require.NoError(t, os.WriteFile(filepath.Join(from, "tokenizer.json"), []byte("{}"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(from, "added_tokens.json"), []byte("[]"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(from, "secret.txt"), nil, 0o600))
	o.GenerationConfig = []byte(`{"eos_token_id": 3}`)
	require.NoError(t, Write(context.Background(), o))
	files := readDir(t, o.Dir)
	require.Equal(t, "{}", files["tokenizer.json"])
	require.Equal(t, "[]", files["added_tokens.json"])
	require.Equal(t, `{"eos_token_id": 3}`, files["generation_config.json"])
	require.NotContains(t, files, "secret.txt")
}

func TestForce(t *testing.T) {
	o := tinyOptions(t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(o.Dir, "notes.txt"), []byte("mine"), 0o600))
	for _, stale := range []string{
		"model.safetensors", "model-00003-of-00009.safetensors",
		".model.safetensors.unfinished-123",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(o.Dir, stale), nil, 0o600))
	}
	before := readDir(t, o.Dir)
	require.ErrorContains(t, Write(context.Background(), o), "is not empty; --force")
	require.Equal(t, before, readDir(t, o.Dir))

	o.Force = true
	require.NoError(t, Write(context.Background(), o))
	require.Len(t, readDir(t, o.Dir), 7) // 2 configs, 3 shards, index, notes
	require.Equal(t, "mine", readDir(t, o.Dir)["notes.txt"])
	require.Len(t, open(t, o.Dir).Names(), 15)
}

// TestInterrupted: what did not become whole is not there under any name.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := tinyOptions(t.TempDir())
	o.Progress = func(string, int64) { cancel() } // after the first shard
	require.ErrorIs(t, Write(ctx, o), context.Canceled)
	files := readDir(t, o.Dir)
	require.Len(t, files, 3)
	require.Contains(t, files, "model-00001-of-00003.safetensors")
	_, err := safetensors.Open(os.DirFS(o.Dir))
	require.Error(t, err)

	full := errors.New("disk full")
	require.ErrorIs(t, writeFile(o.Dir, "x", func(io.Writer) error { return full }), full)
	require.Equal(t, files, readDir(t, o.Dir))
}

func TestBadOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		`type "I8"`:             func(o *Options) { o.Format = weight.I8 },
		"cannot hold 0 bytes":   func(o *Options) { o.ShardBytes = 0 },
		"config.json: is empty": func(o *Options) { o.Config = nil },
		"config.json: neither":  func(o *Options) { o.Config = []byte("null") },
		`model_type is "llama"`: func(o *Options) { o.Config = []byte(`{"model_type": "llama"}`) },
		"vocab_size is 0":       func(o *Options) { o.Config = []byte(`{"model_type": "phi3", "vocab_size": 0}`) }, //nolint:lll // JSON
	} {
		o := tinyOptions(t.TempDir())
		change(&o)
		require.ErrorContains(t, Write(context.Background(), o), want)
		require.Empty(t, readDir(t, o.Dir))
	}
}

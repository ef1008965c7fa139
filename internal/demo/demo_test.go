package demo

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

const maxBytes = 8_000_000

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	data, err := fs.ReadFile(FS(), name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into), name)
}

func TestFilesAndSize(t *testing.T) {
	var names []string
	var total int64
	require.NoError(t, fs.WalkDir(FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		names = append(names, path)
		total += info.Size()
		return err
	}))
	require.Equal(t, []string{
		"config.json",
		"generation_config.json",
		"model-00001-of-00002.safetensors",
		"model-00002-of-00002.safetensors",
		"model.safetensors.index.json",
		"special_tokens_map.json",
		"tokenizer.json",
		"tokenizer_config.json",
	}, names)
	require.LessOrEqual(t, total, int64(maxBytes), "the embedded checkpoint outgrew its budget")
}

func TestConfig(t *testing.T) {
	var config struct {
		Architectures   []string `json:"architectures"`
		ModelType       string   `json:"model_type"`
		TorchDtype      string   `json:"torch_dtype"`
		HiddenSize      int      `json:"hidden_size"`
		Heads           int      `json:"num_attention_heads"`
		VocabSize       int      `json:"vocab_size"`
		EOS             int      `json:"eos_token_id"`
		TiedEmbeddings  bool     `json:"tie_word_embeddings"`
		MaxPositions    int      `json:"max_position_embeddings"`
		OriginalMaxPosn int      `json:"original_max_position_embeddings"`
	}
	readJSON(t, "config.json", &config)
	require.Equal(t, []string{"Phi3ForCausalLM"}, config.Architectures)
	require.Equal(t, "phi3", config.ModelType)
	require.Equal(t, "bfloat16", config.TorchDtype)
	require.Equal(t, 96, config.HiddenSize/config.Heads,
		"head_dim: Phi-3-mini's own, which the kernels are compiled for")
	require.False(t, config.TiedEmbeddings)
	require.Equal(t, config.MaxPositions, config.OriginalMaxPosn)

	var tokenizer struct {
		AddedTokens []struct {
			ID      int    `json:"id"`
			Content string `json:"content"`
		} `json:"added_tokens"`
		Model struct {
			Vocab map[string]int `json:"vocab"`
		} `json:"model"`
	}
	readJSON(t, "tokenizer.json", &tokenizer)
	ids := map[string]int{}
	for _, token := range tokenizer.AddedTokens {
		ids[token.Content] = token.ID
		require.Less(t, token.ID, config.VocabSize, token.Content)
	}
	for piece, id := range tokenizer.Model.Vocab {
		require.Less(t, id, config.VocabSize, piece)
	}
	require.Equal(t, ids["<|endoftext|>"], config.EOS)

	var generation struct {
		EOS []int `json:"eos_token_id"`
	}
	readJSON(t, "generation_config.json", &generation)
	require.Equal(t, []int{ids["<|endoftext|>"], ids["<|assistant|>"], ids["<|end|>"]}, generation.EOS)
}

// The index names the right shard for every tensor of the shards, has no other tensors, and has the right
// total size.
func TestIndexResolves(t *testing.T) {
	var index struct {
		Metadata struct {
			TotalSize int `json:"total_size"`
		} `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	readJSON(t, "model.safetensors.index.json", &index)
	require.Equal(t, "model-00001-of-00002.safetensors", index.WeightMap["model.embed_tokens.weight"])
	require.Equal(t, "model-00002-of-00002.safetensors", index.WeightMap["lm_head.weight"])

	found, total := map[string]string{}, 0
	for _, shard := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
		data, err := fs.ReadFile(FS(), shard)
		require.NoError(t, err)
		headerLength := int(binary.LittleEndian.Uint64(data))
		require.LessOrEqual(t, headerLength, len(data)-8, shard)
		var header map[string]struct {
			Dtype   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets []int  `json:"data_offsets"`
		}
		metadata := map[string]json.RawMessage{}
		require.NoError(t, json.Unmarshal(data[8:8+headerLength], &metadata), shard)
		delete(metadata, "__metadata__")
		tensors, err := json.Marshal(metadata)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(tensors, &header), shard)
		for name, tensor := range header {
			require.Equal(t, "BF16", tensor.Dtype, name)
			found[name] = shard
			total += tensor.Offsets[1] - tensor.Offsets[0]
		}
	}
	require.Equal(t, found, index.WeightMap)
	require.Equal(t, total, index.Metadata.TotalSize)
}

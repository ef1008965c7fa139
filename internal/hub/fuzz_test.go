package hub

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
)

// Whatever a hub lists and whatever an index names, what is downloaded has a name that stays in its
// directory, a hash that can be the name of a blob, and a size within bounds.
func FuzzRevision(f *testing.F) {
	const hash = `"0123456789012345678901234567890123456789"`
	f.Add([]byte(`{"sha": `+hash+`, "siblings": [{"rfilename": "config.json", "size": 3, "blobId": `+hash+`},
		{"rfilename": "tokenizer.json", "size": 3, "blobId": `+hash+`},
		{"rfilename": "model.safetensors.index.json", "size": 3, "blobId": `+hash+`},
		{"rfilename": "a.safetensors", "size": 3, "blobId": `+hash+`,
		"lfs": {"sha256": "`+strings.Repeat("a", 64)+`", "size": 7}}]}`),
		[]byte(`{"weight_map": {"x": "a.safetensors"}}`))
	f.Add([]byte(`{"sha": `+hash+`,
		"siblings": [{"rfilename": "../../x.safetensors", "size": -1, "blobId": "../../x"}]}`),
		[]byte(`{"weight_map": {"x": "../../x.safetensors"}}`))
	f.Add([]byte(`{"sha": `+hash+`, "siblings": [null, {}]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, answer, index []byte) {
		r, err := parseRevision(answer)
		if err != nil {
			return
		}
		require.Regexp(t, commitHash, r.commit)
		files, _, err := r.small()
		if err == nil {
			if shards, err := safetensors.Shards(fstest.MapFS{indexName: {Data: index}}); err == nil {
				weights, _ := r.weights(shards)
				files = append(files, weights...)
			}
		}
		for _, f := range files {
			require.True(t, filepath.IsLocal(f.name) && !strings.ContainsAny(f.name, "/\\:\x00\x1b"), "%q",
				f.name)
			require.True(t, commitHash.MatchString(f.hash) || sha256Hex.MatchString(f.hash), "%q", f.hash)
			require.True(t, f.size >= 0 && f.size <= maxShardBytes)
		}
	})
}

// Names and revisions that are accepted lead to paths below the cache.
func FuzzCheck(f *testing.F) {
	f.Add("microsoft/Phi-3-mini-4k-instruct", "refs/pr/1")
	f.Add("../..", "../..")
	f.Add("https://huggingface.co/a/b/tree/refs%2Fpr%2F1", "main")
	f.Add("models--a--b@x", "a")
	h := &Hub{Cache: filepath.FromSlash("/cache"), Endpoint: "https://huggingface.co"}
	f.Fuzz(func(t *testing.T, name, revision string) {
		if parsed, at, ok := h.ParseAddress(name); ok {
			require.NoError(t, check(parsed, cmp.Or(at, DefaultRevision)),
				"what an address names goes the same way")
		}
		if check(name, revision) != nil {
			return
		}
		r := h.repo(name)
		require.Equal(t, h.Cache, filepath.Dir(r.dir))
		ref := r.path(refFile(revision))
		require.True(t, strings.HasPrefix(ref, filepath.Join(r.dir, "refs")+string(os.PathSeparator)), "%q",
			ref)
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 100-199/200")
	f.Fuzz(func(t *testing.T, text string) {
		if from, total, ok := contentRange(text); ok {
			require.True(t, from >= 0 && total >= 0)
		}
	})
}

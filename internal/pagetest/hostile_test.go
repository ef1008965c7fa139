//go:build !race

package pagetest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// hostile are tokens of a model that wants to harm its reader, by the tokens of the built-in model that they
// replace. The model finds them probable after "The capital of Germany is".
var hostile = map[string]string{
	"▁Berlin":  `<img src=x onerror=alert(1)>`,
	"▁Germany": `"><script>alert(2)</script><style>*{display:none}</style>`,
	"▁Vi":      "\u202Etfel ot thgir\u0007\u0000\u001b[31m",
	"▁Par":     "▁" + strings.Repeat("long", 1000),
	"▁capital": `javascript:alert(3)//{{7*7}}${7*7}`,
	"▁K":       "\u200d\ufeff\u2028\ufdd0\U000e0001",
	"▁B":       "a\n\n\n\nb\t]]>&lt;&#x3c;svg/onload=alert(4)>",
}

// hostileModel is the built-in checkpoint with hostile tokens.
func hostileModel(t *testing.T) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(demo.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(demo.FS(), name)
		files[name] = &fstest.MapFile{Data: data, Mode: 0o644}
		return err
	}))
	var all map[string]any
	require.NoError(t, json.Unmarshal(files["tokenizer.json"].Data, &all))
	model := all["model"].(map[string]any)
	vocab := model["vocab"].(map[string]any)
	var merges []any
	for _, merge := range model["merges"].([]any) {
		first, second, _ := strings.Cut(merge.(string), " ")
		uses := false
		for name := range hostile {
			uses = uses || first == name || second == name || first+second == name
		}
		if !uses {
			merges = append(merges, merge)
		}
	}
	model["merges"] = merges
	for name, text := range hostile {
		require.Contains(t, vocab, name)
		vocab[text] = vocab[name]
		delete(vocab, name)
	}
	// A prompt's own tokens are hostile too.
	added := all["added_tokens"].([]any)
	for i, text := range []string{`<svg onload=alert(5)>`, "<!--\u202e-->"} {
		added = append(added, map[string]any{
			"id": 2511 + i, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
			"normalized": false, "special": i == 0,
		})
	}
	all["added_tokens"] = added
	data, err := json.Marshal(all)
	require.NoError(t, err)
	files["tokenizer.json"].Data = data
	return files
}

// Whatever the tokens of a model are, the page draws them as text.
func TestHostileModel(t *testing.T) {
	s := start(t, setup{checkpoint: hostileModel(t)})
	var ids []int32 // of "The capital of Germany is", which no longer has these tokens
	for _, name := range []string{"▁The", "▁of", "▁is"} {
		id, ok := s.tok.ID(name)
		require.True(t, ok)
		ids = append(ids, id)
	}
	branch := fmt.Sprintf("[%d,288,%d,1704,%d]", ids[0], ids[1], ids[2])
	const prompt = "<svg onload=alert(5)> <!--\u202e--> <img src=y onerror=alert(6)>\x00"
	for _, view := range views {
		for _, width := range []int64{1280, 390} {
			p := s.open("", look{width: width, height: 800})
			p.keepFiles()
			p.visit(fragment("view", asJSON(t, view), "prompt", asJSON(t, prompt), "branch", branch))
			p.loads(view)
			eval[int](p, `[...document.querySelectorAll("#view summary")].map(s => s.click()).length`)
			p.until(`[...document.querySelectorAll("#view details.numbers")].every(d => d.querySelector("tr, li"))`)
			require.Zero(t, eval[int](p, `document.querySelectorAll("#app :is(img, script, style, iframe, object, "+
				"embed, link, svg[onload], [onerror], base, form[action])").length`), view)
			require.Zero(t, eval[int](p, `document.querySelectorAll("a[href^=javascript]").length`))
			require.Regexp(t, `onload=alert\(5\)|<img|<svg`, p.texts("#view")[0], "%s draws the tokens", view)
			require.LessOrEqual(t, eval[int](p, "document.documentElement.scrollWidth"), int(width), view)
			for _, file := range p.save() {
				if strings.HasSuffix(file.Name, ".svg") {
					checkSVG(t, file.Text)
				} else {
					require.True(t, json.Valid([]byte(file.Text)))
				}
			}
			p.clean()
		}
	}
}

// The page draws 10 MB of attention: 64 heads of 128 positions.
func TestLargeAttention(t *testing.T) {
	const heads, positions = 64, 128
	dir := t.TempDir()
	data, err := fs.ReadFile(demo.FS(), "config.json")
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(data, &config))
	for key, value := range map[string]any{
		"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": 32 * heads,
		"num_hidden_layers": 1, "intermediate_size": 64,
	} {
		config[key] = value
	}
	data, err = json.Marshal(config)
	require.NoError(t, err)
	tokenizer := t.TempDir()
	require.NoError(t, os.CopyFS(tokenizer, demo.FS()))
	require.NoError(t, randomckpt.Write(t.Context(), randomckpt.Options{
		Dir: dir, Config: data, TokenizerDir: tokenizer, Format: weight.BF16, ShardBytes: 1 << 30,
	}))
	s := start(t, setup{checkpoint: os.DirFS(dir)})
	prompt := strings.Repeat("a b ", positions)
	p := s.view("attention", prompt, false)
	p.loads("attention")
	require.Len(t, p.data(".thumb[data-head]"), heads)
	p.click("#head-" + strconv.Itoa(heads))
	p.until(`document.querySelector("#matrix").dataset.head == %s`, strconv.Itoa(heads))
	require.Greater(t, eval[int](p, `performance.getEntriesByName(location.origin + "/explore/attention")
		.at(-1).decodedBodySize`), 8<<20)
}

package verify

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

var update = flag.Bool("update", false, "rewrite fixtures/demo.json")

// The numbers of the published fixtures are those of the specification, where each is written once.
func TestFixturesAreOfTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../../docs/phi3-spec.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(strings.NewReplacer("↵", "\n", `\|`, "|", "[", " ", "]", " ", ",",
		" ", "...", " ", "`", " ", ":", " ").Replace(string(spec))), " ")
	fixtures, err := Fixtures()
	require.NoError(t, err)
	require.Len(t, fixtures, 3)
	checked := 0
	for _, f := range fixtures {
		for _, r := range f.Releases {
			require.NotNil(t, r.fingerprint(), "%s, %s", f.Checkpoint, r.Name)
			for _, c := range r.Checks {
				require.LessOrEqual(t, len(c.IDs)+len(c.Expect), Context)
				if !strings.HasPrefix(c.Source, "spec ") {
					continue
				}
				what := fmt.Sprintf("%s, %s: %s (%s)", f.Checkpoint, r.Name, c.Name, c.Source)
				if c.Kind != Next || c.Text == "Berlin" { // other prompts stand there with or without a BOS
					require.Contains(t, text, ids(withoutBOS(c.IDs)), what)
				}
				for _, row := range c.Rows {
					require.Contains(t, text, numbers(row), what)
				}
				checked++
			}
		}
	}
	require.Equal(t, 25, checked)
}

func withoutBOS(ids []int32) []int32 {
	if ids[0] == 1 {
		ids = ids[1:]
	}
	if ids[len(ids)-1] == 32001 && len(ids) == 24 {
		ids = ids[:23] // "the 23 ids", and <|assistant|>
	}
	return ids
}

// The expected texts are what their ids spell, with the tokenizer of the published checkpoints.
func TestTextsAreTheirIDs(t *testing.T) {
	const data = "../../../shared/phi3-data/Phi-3-mini-4k-instruct"
	if _, err := os.Stat(data); err != nil {
		t.Skip("the published tokenizer is not here")
	}
	tok, err := tokenizer.Load(os.DirFS(data))
	require.NoError(t, err)
	fixtures, err := Fixtures()
	require.NoError(t, err)
	for _, f := range fixtures {
		if f.Config.VocabSize != 32064 {
			continue
		}
		for _, r := range f.Releases {
			for _, c := range r.Checks {
				if c.Kind == Greedy || c.Kind == Next {
					text := tok.Decode(append(append([]int32{}, c.IDs...), c.Expect...), true)
					require.Equal(t, strings.TrimSpace(c.Text),
						strings.TrimSpace(strings.TrimPrefix(text, tok.Decode(c.IDs, true))), c.Name)
				}
			}
		}
	}
}

// fixtures/demo.json is made from the golden of the built-in model. go test ./internal/verify -update writes
// it.
func TestDemoFixture(t *testing.T) {
	g := backendtest.Goldens(t, "../../testdata")["demo"]
	var extra struct {
		Prompts []struct {
			Name     string
			Text     string
			Messages []tokenizer.Message
			F32      struct{ Text string } `json:"greedy_f32"`
			BF16     struct{ Text string } `json:"greedy_bf16"`
		}
	}
	data, err := os.ReadFile("../../testdata/demo/golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &extra))

	f := fixtureOf(t, "phi3-demo", g)
	f.Releases[0].Name = "built in"
	var checks, tokens []Check
	for _, c := range f.Releases[0].Checks {
		for i, p := range extra.Prompts {
			if p.Name != strings.Split(c.Name, ":")[0] {
				continue
			}
			if c.Kind == Greedy {
				c.Text = map[string]string{"f32": p.F32.Text, "bf16": p.BF16.Text}[c.DType]
			}
			if c.Kind == Logits {
				token := Check{
					Kind: Tokens, Name: p.Name, Source: c.Source, IDs: g.Prompts[i].IDs,
					Messages: p.Messages,
				}
				if p.Messages == nil {
					token.Text = p.Text
				}
				tokens = append(tokens, token)
			}
		}
		checks = append(checks, c)
	}
	f.Releases[0].Checks = slices.Concat(checks, tokens)
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(f))
	if *update {
		require.NoError(t, os.WriteFile("fixtures/demo.json", want.Bytes(), 0o644))
	}
	got, err := os.ReadFile("fixtures/demo.json")
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got))
}

// fixtureOf makes a fixture of what Hugging Face computed for a checkpoint of testdata.
func fixtureOf(t testing.TB, name string, g *backendtest.Golden) Fixture {
	t.Helper()
	const source = "transformers 4.57.6"
	c := configOf(t, g.FS())
	var checks []Check
	for _, p := range g.Prompts {
		last := len(p.Positions) // of the golden arrays, those whose positions are in a row from 0
		for i, position := range p.Positions {
			if i != position {
				last = i
				break
			}
		}
		if len(p.IDs) > 64 || last < 2 && len(p.IDs) > 1 {
			continue
		}
		widened := func(rows [][]float32, columns func([]float32) []float32) (out [][]float64) {
			for _, row := range rows[:min(last, 2)] {
				var values []float64
				for _, v := range columns(row) {
					values = append(values, float64(v))
				}
				out = append(out, values)
			}
			return out
		}
		first30 := func(row []float32) []float32 { return row[:30] }
		both := func(row []float32) []float32 {
			return append(append([]float32{}, row[:3]...),
				row[len(row)-3:]...)
		}
		states := g.Array(t, p.Name+".hidden.bf16")
		normed := states[len(states)-len(p.Positions):]
		checks = append(checks,
			Check{
				Kind: Logits, Name: p.Name + ": logits", Source: source, DType: "f32", IDs: p.IDs,
				Rows: widened(g.Array(t, p.Name+".logits.f32"), first30),
			},
			Check{
				Kind: Greedy, Name: p.Name, Source: source, DType: "f32", IDs: p.IDs,
				Expect: p.GreedyF32.IDs,
			},
			Check{
				Kind: Hidden, Name: p.Name + ": last hidden state", Source: source, DType: "bf16",
				IDs: p.IDs, Rows: widened(normed, both),
			},
			Check{
				Kind: Next, Name: p.Name, Source: source, DType: "bf16", IDs: p.IDs,
				Expect: p.GreedyBF16.IDs[:1],
			},
			Check{
				Kind: Greedy, Name: p.Name, Source: source, DType: "bf16", IDs: p.IDs,
				Expect: p.GreedyBF16.IDs,
			},
		)
	}
	return Fixture{
		Checkpoint: name, Config: Match{c.VocabSize, c.HiddenSize, c.Layers, c.MaxPositions},
		Releases: []Release{{Name: "golden", Checks: checks}},
	}
}

// Every fixture is about the published configuration that it says, and about none of the others.
func TestApplies(t *testing.T) {
	fixtures, err := Fixtures()
	require.NoError(t, err)
	long := func(factors ...float32) model.RoPEConfig { return model.RoPEConfig{LongFactor: factors} }
	mini := model.Config{VocabSize: 32064, HiddenSize: 3072, Layers: 32, MaxPositions: 4096}
	mini128 := mini
	mini128.MaxPositions = 131072
	for _, test := range []struct {
		config   model.Config
		rope     model.RoPEConfig
		releases string
	}{
		{mini, long(), "Phi-3-mini-4k-instruct: June/July 2024, April 2024"},
		{
			mini128, long(1.0700000524520874, 1.1200000047683716, 1.149999976158142, 1.42),
			"Phi-3-mini-128k-instruct: June/July 2024",
		},
		{
			mini128, long(1.0299999713897705, 1.0499999523162842, 1.0499999523162842, 1.08),
			"Phi-3-mini-128k-instruct: April 2024",
		},
		{mini128, long(1.0800000429153442, 1.1100000143051147, 1.1399999856948853), ""}, // Phi-3.5-mini
		{mini128, long(1.07), ""},
		// medium
		{model.Config{VocabSize: 32064, HiddenSize: 5120, Layers: 40, MaxPositions: 4096}, long(), ""},
	} {
		test.config.RoPE = test.rope
		var got []string
		for _, f := range fixtures {
			var names []string
			for _, r := range f.applies(&test.config) {
				names = append(names, r.Name)
			}
			if len(names) > 0 {
				got = append(got, f.Checkpoint+": "+strings.Join(names, ", "))
			}
		}
		require.Equal(t, test.releases, strings.Join(got, "; "))
	}
}

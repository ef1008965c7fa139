//go:build cuda && linux

package kit

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPredictions: beside a figure that the model on paper knows, the summary shows its prediction for this
// card and the share of it. A card that the model does not know has none.
func TestPredictions(t *testing.T) {
	work := t.TempDir()
	build := exec.Command("go", "build", "-o", work+"/gpu-model", "phi3/cmd/gpu-model")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(work+"/"+name, []byte(text), 0o644))
	}
	write("results", "bench-100\tpassed\t1\t\n")
	write("figures.csv", `step,figure,value,sd,unit,gb_per_s,copy_gb_per_s,read_gb_per_s
bench-100,decode after 100 tokens,350,1,tokens/s,2620,2950,3000
bench-100,decode after 100 tokens,370,1,tokens/s,2620,2950,3000
bench-100,prefill of 100 tokens,9000,1,tokens/s,,2950,3000
kernel-times,decode 1/LinearAdd o,7,,µs,,2950,3000
experiments,Experiment/chain/graph,3000,,µs/32layers,,2950,3000
experiments,Experiment/chain/graph,2400,,GB/s,2400,2950,3000
experiments,Experiment/chain/prefetch-12MB,2700,,µs/32layers,,2950,3000
experiments,Experiment/chain/pdl-96KB,2550,,µs/32layers,,2950,3000
experiments,Experiment/attention/2k/serial-join,20,,µs,,2950,3000
experiments,Experiment/attention/16k/serial-join,80,,µs,,2950,3000
experiments,Experiment/attention/16k/join,76,,µs,,2950,3000
experiments,Experiment/attention/100k/join,400,,µs,3000,2950,3000
experiments,Experiment/attention/100k/serial-join,440,,µs,2800,2950,3000
experiments,Experiment/attention/100k/serial-join,2800,,GB/s,2800,2950,3000
experiments,Experiment/attention/100k/no-join,396,,µs,,2950,3000
experiments,Experiment/token/100cached,2600,,µs/token,,2950,3000
experiments,Experiment/token/100cached,2550,,µs/graph,,2950,3000
experiments,Experiment/token/100cached-waiting,2650,,µs/token,,2950,3000
experiments,Experiment/batch/qkv/32tokens/prefill,30,,µs,,2950,3000
experiments,Experiment/batch/o/32tokens/prefill,25,,µs,,2950,3000
experiments,Experiment/batch/gate-up/32tokens/prefill,50,,µs,,2950,3000
experiments,Experiment/batch/down/32tokens/prefill,55,,µs,,2950,3000
experiments,Experiment/batch/qkv/32tokens/batch,20,,µs,,2950,3000
experiments,Experiment/batch/o/32tokens/batch,10,,µs,,2950,3000
experiments,Experiment/batch/gate-up/32tokens/batch,36,,µs,,2950,3000
experiments,Experiment/batch/down/32tokens/batch,22,,µs,,2950,3000
experiments,Experiment/batch/down/64tokens/batch,40,,µs,,2950,3000
`)
	summary := func(card string, environment ...string) string {
		write("head", "card\t"+card+"\n")
		cmd := exec.Command("bash", "summary.sh", work)
		cmd.Env = append(os.Environ(), "KIT="+work, "WORK="+work, "CHECKPOINT="+work+"/checkpoint",
			"RESULTS="+work+"/results", "FIGURES="+work+"/figures.csv",
			"SHORT=", "MODEL=", "COMMAND=", "END=")
		cmd.Env = append(cmd.Env, environment...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, string(out))
		text, err := os.ReadFile(work + "/summary.md")
		require.NoError(t, err)
		return string(text)
	}

	text := summary("NVIDIA H100 80GB HBM3")
	const decode = `\| bench-100 \| decode after 100 tokens \| 360 \(median of 2\) \| tokens/s \| `
	require.Regexp(t, decode+`3\d\d(\.\d)? \| 9\d(\.\d)? % \| 88.8 % \| 87.3 % \|\n`, text)
	require.Contains(t, text, "| bench-100 | prefill of 100 tokens | 9000 ± 1 | tokens/s | – | – | – | – |\n")
	require.Regexp(t, `\| kernel-times \| decode 1/LinearAdd o \| 7 \| µs \| \d.* \| \d.* % \| – \| – \|\n`, text)

	require.Contains(t, text, `| change | measured on | without | with | gain |
|---|---|---|---|---|
| B1, 12 MB | the products of all layers | 3000 | 2700 | 10 % |
| B4, rings of 96 KB | the products of all layers | 3000 | 2550 | 15 % |
| B2 | attention at 16k | 80 | 76 | 5 % |
| B2 | attention at 100k | 440 | 400 | 9.09 % |
| B2, if the join took no time | attention at 100k | 400 | 396 | 1 % |
| B3 | a token at 100 cached tokens | 2650 | 2600 | 1.89 % |
| B5, 32 tokens | the products of a layer | 160 | 88 | 45 % |

## Figures
`, "only what was measured")

	text = summary("NVIDIA H100 80GB HBM3", "SHORT=yes")
	require.Regexp(t, decode+`\d`, text, "by the model's own sizes")
	require.Contains(t, text, "| kernel-times | decode 1/LinearAdd o | 7 | µs | – | – | – | – |\n")

	text = summary("NVIDIA GeForce RTX 2080")
	require.Contains(t, text, `There are no predictions: gpu-model: the model does not know the card`)
	require.Regexp(t, decode+`– \| – \| 88.8 % `, text)
}

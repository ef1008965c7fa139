//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requests writes a file of requests of many kinds for the demonstration model. Some are refused.
func requests(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	prompts := []string{"The capital of Germany is", "The capital of France is", "Hello", "The"}
	for i := range n {
		prompt := prompts[i%len(prompts)]
		url, body := "/v1/completions", fmt.Sprintf(`"prompt": %q, "temperature": 0`, prompt)
		switch i % 5 {
		case 1:
			url, body = "/v1/chat/completions", fmt.Sprintf(
				`"messages": [{"role": "user", "content": %q}], "seed": %d`, prompt, i)
		case 2:
			body = fmt.Sprintf(`"prompt": %q, "seed": %d, "n": 3, "logprobs": 2`, prompt, i)
		case 3:
			body = fmt.Sprintf(`"prompt": %q, "seed": %d, "ignore_eos": true`, prompt, i)
		case 4:
			body = `"prompt": "x", "temperature": -1`
		}
		fmt.Fprintf(&b, `{"custom_id": "request %d", "method": "POST", "url": %q, "body": {%s, "max_tokens": %d}}`+
			"\n", i, url, body, 8+i%40)
	}
	name := filepath.Join(t.TempDir(), "requests.jsonl")
	require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o600))
	return name
}

// responses reads an output, by custom_id, without what may differ between two runs.
func responses(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	all := map[string]any{}
	for line := range strings.Lines(string(text)) {
		var response map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &response), line)
		id := response["custom_id"].(string)
		require.NotContains(t, all, id)
		all[id] = response
		body := response["response"].(map[string]any)["body"].(map[string]any)
		if _, refused := body["error"]; !refused {
			require.Contains(t, body, "created")
			delete(body, "created")
			delete(body["usage"].(map[string]any), "prompt_tokens_details")
		}
	}
	return all
}

func batchCommand(in, out string, flags ...string) *exec.Cmd {
	return exec.Command("phi3", append([]string{"batch", in, "--out", out, "--device", "cpu"}, flags...)...)
}

// endlessRequest is a line with a custom_id and max_tokens, which end the answer.
const endlessRequest = `{"custom_id": %q, "method": "POST", "url": "/v1/completions", "body": ` +
	`{"prompt": "Hello", "ignore_eos": true, "max_tokens": %d}}` + "\n"

// A response is the same, byte for byte, however many requests run beside it.
func TestBatchParallel(t *testing.T) {
	in, dir := requests(t, 30), t.TempDir()
	var all [2]map[string]any
	for i, parallel := range []string{"1", "8"} {
		out := filepath.Join(dir, parallel)
		said, err := batchCommand(in, out, "--parallel", parallel).CombinedOutput()
		require.NoError(t, err, "%s", said)
		require.Contains(t, string(said), "24 requests answered, 6 refused")
		all[i] = responses(t, out)
		require.Len(t, all[i], 30)
	}
	require.Equal(t, all[0], all[1])
}

// After any number of kills, the output is that of a run without one.
func TestBatchKilled(t *testing.T) {
	const n = 40
	in, dir := requests(t, n), t.TempDir()
	whole, out := filepath.Join(dir, "whole"), filepath.Join(dir, "killed")
	said, err := batchCommand(in, whole).CombinedOutput()
	require.NoError(t, err, "%s", said)
	// However late a kill is, the run has not ended: its last requests are others, which do not end.
	text, err := os.ReadFile(in)
	require.NoError(t, err)
	lines, killed := strings.SplitAfter(string(text), "\n")[:n-5], filepath.Join(dir, "in")
	for i := n - 5; i < n; i++ {
		lines = append(lines, fmt.Sprintf(endlessRequest, fmt.Sprint("request ", i), 900000))
	}
	require.NoError(t, os.WriteFile(killed, []byte(strings.Join(lines, "")), 0o600))
	for done := 0; done < n/2; {
		cmd := batchCommand(killed, out, "--parallel", "3", "-c", "1000000")
		require.NoError(t, cmd.Start())
		before := done
		for done < before+5 { // until it has answered five more
			text, _ := os.ReadFile(out)
			done = strings.Count(string(text), "\n")
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	said, err = batchCommand(in, out).CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Contains(t, string(said), " of 40 responses\n")
	require.Equal(t, responses(t, whole), responses(t, out))
}

// Ctrl-C keeps the responses that are complete, and says how to go on.
func TestBatchInterrupted(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	endless := fmt.Sprintf(endlessRequest, "short", 1) + fmt.Sprintf(endlessRequest, "endless", 900000)
	require.NoError(t, os.WriteFile(in, []byte(endless), 0o600))
	said := interrupt(t, fmt.Sprintf("batch %s --out %s --device cpu -c 1000000", in, out),
		[]string{graceVariable + "=1h"},
		func(t *testing.T, _ io.Writer, _, _ io.Reader) {
			for text := []byte(nil); len(text) == 0 || text[len(text)-1] != '\n'; text, _ = os.ReadFile(out) {
				time.Sleep(time.Millisecond)
			}
		})
	require.Contains(t, said, "1 request without a response yet; run the same command again to answer "+
		"the rest\n")
	require.Len(t, responses(t, out), 1)
}

// Two runs cannot write one output.
func TestBatchLocked(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(in, []byte(`{"custom_id": "1", "method": "POST", "url": "/v1/completions", `+
		`"body": {"prompt": "Hello", "ignore_eos": true, "max_tokens": 900000}}`), 0o600))
	first := batchCommand(in, out, "-c", "1000000")
	stderr, err := first.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, first.Start())
	defer func() {
		_ = first.Process.Kill()
		_ = first.Wait()
	}()
	_, err = io.ReadFull(stderr, make([]byte, len("model:"))) // the output is locked before that
	require.NoError(t, err)
	said, err := batchCommand(in, out).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, "phi3: "+out+": is being written by another phi3 batch; wait until it ends, or choose "+
		"another --out\n", string(said))
}

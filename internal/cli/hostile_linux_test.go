package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/safetensors"
	"phi3/internal/show/showtest"
	"phi3/internal/weight"
)

// hostile is a text that a terminal would obey: it sets the clipboard, clears the screen, changes colours
// with a C1 control, changes the writing direction, and starts a line that looks like one of phi3's.
const hostile = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u009b31m\u0085\x7f\u202e\u2066\u2028\r\nphi3: " +
	"forged\n\x00\x08|"

// hostileName is hostile as the name of a file, which cannot contain NUL.
var hostileName = strings.ReplaceAll(hostile, "\x00", "")

// obeyed matches what phi3 must not print: control characters, changes of direction, and the forged line.
var obeyed = regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{2028}-\x{202e}\x{2066}-\x{2069}]` +
	`|(?m)^phi3: forged`)

func requireHarmless(t *testing.T, where, text string) {
	t.Helper()
	if at := obeyed.FindStringIndex(text); at != nil || !utf8.ValidString(text) {
		t.Errorf("%s: %q at %v of %q", where, text[max(0, len(text)-3000):], at, obeyed.FindString(text))
	}
}

// tryHostile runs a command with pipes and with a terminal as stdout and stderr, and checks the output. With
// modelText, stdout may have a model's text, which goes into a pipe unchanged.
func tryHostile(t *testing.T, modelText bool, args ...string) (code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = Main(args, strings.NewReader(""), &stdout, &stderr)
	requireHarmless(t, fmt.Sprintf("%.200q: stderr", args), stderr.String())
	if !modelText {
		requireHarmless(t, fmt.Sprintf("%.200q: stdout", args), stdout.String())
	}
	for _, arg := range args {
		if strings.HasPrefix(arg, "--json") {
			decoder := json.NewDecoder(strings.NewReader(stdout.String()))
			for {
				var value any
				err := decoder.Decode(&value)
				if err == io.EOF {
					break
				}
				require.NoError(t, err, "%q", args)
			}
		}
	}

	program, screen, err := showtest.NewTerminal()
	require.NoError(t, err)
	shown := &watched{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(shown, screen) // the end is an error: the other side is closed
	}()
	Main(args, strings.NewReader(""), program, program)
	require.NoError(t, program.Close())
	<-done
	require.NoError(t, screen.Close())
	screenText := strings.ReplaceAll(shown.all(), "\r\n", "\n")
	if modelText {
		screenText = strings.ReplaceAll(screenText, "\nphi3: forged", "") // a model may begin lines
	}
	requireHarmless(t, fmt.Sprintf("%.200q: terminal", args), screenText)
	return code
}

// hostileModel makes a copy of the built-in model with hostile text in the directory's name, special tokens,
// names of tensors and settings.
func hostileModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), hostileName)
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	replaceIn(t, filepath.Join(dir, "tokenizer.json"), `"<|placeholder1|>"`)
	replaceIn(t, filepath.Join(dir, "tokenizer_config.json"), `"<|placeholder1|>"`)
	replaceIn(t, filepath.Join(dir, "config.json"), `"phi3-demo"`)
	file, err := os.Create(filepath.Join(dir, "more.safetensors"))
	require.NoError(t, err)
	zero := func(w io.Writer) error { _, err := w.Write(make([]byte, 4)); return err }
	require.NoError(t, safetensors.Write(file,
		[]safetensors.Entry{
			{Name: "model." + hostile, Format: weight.F32, Shape: []int{1}, WriteTo: zero},
		}, nil))
	require.NoError(t, file.Close())
	var index map[string]any
	data, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &index))
	index["weight_map"].(map[string]any)["model."+hostile] = "more.safetensors"
	data, err = json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), data, 0o600))
	return dir
}

// hostileLabels makes a checkpoint with a classification head, whose first label is hostile.
func hostileLabels(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "labels")
	require.NoError(t, copyCheckpoint(dir, "tokens"))
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	label := regexp.MustCompile(`"0": *("[^"]*")`).FindSubmatch(config)
	require.NotNil(t, label)
	replaceIn(t, filepath.Join(dir, "config.json"), string(label[1]))
	return dir
}

// replaceIn replaces a JSON string by the hostile text.
func replaceIn(t *testing.T, file, old string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	quoted, err := json.Marshal(hostile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(data), old, string(quoted))),
		0o600))
}

// No command sends control characters from a checkpoint or from an argument to the terminal.
func TestHostileStrings(t *testing.T) {
	dir := hostileModel(t)
	labels := hostileLabels(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_HOME", t.TempDir())
	svg := filepath.Join(t.TempDir(), "a.svg")

	for _, args := range [][]string{
		{"info"},
		{"info", "--json"},
		{"generate", "-p", hostile, "-n", "2"},
		{"generate", "-p", hostile, "-n", "2", "--json", "--logprobs", "3"},
		{"generate", "-p", hostile, "-n", "2", "--jsonl"},
		{"generate", "-p", hostile, "-n", "2", "--stop", hostile, "-v"},
		{"generate", "-p", hostile, "-n", "2", "--chat", "--system", hostile, "--logprobs", "3"},
		{"generate", "-p", "\xff\x9b31m", "-n", "2"},
		{"next-token", "-p", hostile, "--token", hostile},
		{"next-token", "-p", hostile, "--layers", "--attention", "1", "--svg", svg},
		{"next-token", "-p", hostile, "--json"},
		{"tokenize", "-p", hostile},
		{"tokenize", "-p", hostile, "--chat"},
		{"tokenize", "-p", hostile, "--json"},
		{"tokenize", "-p", "2502 30 31 130 158 2502", "--decode", "--json"},
		{"verify"},
		{"verify", "--json"},
		{"bench", "-p", "2", "-n", "2", "-r", "1"},
		{"bench", "-p", "2", "-n", "2", "-r", "1", "-o", "json"},
		{"bench", "-p", "2", "-n", "2", "-r", "1", "-o", "csv"},
		{"bench", "-p", "2", "-n", "2", "-r", "1", "-o", "csv", "--no-cache"},
	} {
		require.Equal(t, exitOK, tryHostile(t, false, append(args, "--model", dir)...), "%q", args)
	}
	for _, args := range [][]string{
		{"generate", "-p", hostile, "-n", "2", "--echo"},
		{"tokenize", "-p", "2502 30 31 130 158 2502", "--decode"},
	} {
		require.Equal(t, exitOK, tryHostile(t, true, append(args, "--model", dir)...), "%q", args)
	}
	for _, args := range [][]string{
		{"classify", "--text", hostile},
		{"classify", "--text", hostile, "--json"},
		{"info"},
		{"info", "--json"},
	} {
		require.Equal(t, exitOK, tryHostile(t, false, append(args, "--model", labels)...), "%q", args)
	}
	for _, args := range [][]string{
		{hostile},
		{"--" + hostile},
		{"-" + hostile},
		{"help", hostile},
		{"doctor"},
		{"doctor", "--json"},
		{"chat", hostile},
		{"chat", "--model", dir},
		{"tokenize", "-p", "30 " + hostile, "--decode"},
		{"generate", hostile},
		{"generate", "-n", hostile},
		{"generate", "-p", "x", "--device", hostile},
		{"generate", "-p", "x", "--dtype", hostile},
		{"generate", "-p", "x", "--model", hostile},
		{"generate", "-p", "x", "--model", "org/" + hostile},
		{"generate", "-f", hostile},
		{"classify", "--text", "x", "--jsonl", hostile},
		{"bench", "-o", hostile},
		{"pull", hostile},
		{"pull", "org/name", "--revision", hostile},
		{"models", "rm", hostile},
		{"completion", hostile},
		{"__complete", hostile},
	} {
		tryHostile(t, false, args...)
	}

	// A shard is missing.
	require.NoError(t, os.Remove(filepath.Join(dir, "more.safetensors")))
	for _, command := range []string{"info", "verify", "generate -p x", "info --json", "next-token -p x"} {
		tryHostile(t, false, append(strings.Fields(command), "--model", dir)...)
	}
}

// The same for each string in the small files of a checkpoint, one at a time.
func TestHostileFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	text := regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	quoted, err := json.Marshal(hostile)
	require.NoError(t, err)
	for _, name := range []string{
		"config.json", "generation_config.json", "tokenizer_config.json",
		"model.safetensors.index.json",
	} {
		file := filepath.Join(dir, name)
		good, err := os.ReadFile(file)
		require.NoError(t, err)
		places := text.FindAllIndex(good, -1)
		step := max(1, len(places)/40)
		for i := 0; i < len(places); i += step {
			bad := append([]byte{}, good[:places[i][0]]...)
			bad = append(append(bad, quoted...), good[places[i][1]:]...)
			require.NoError(t, os.WriteFile(file, bad, 0o600))
			command := []string{"info", "generate -p x --chat -n 1", "next-token -p x"}[i/step%3]
			var stdout, stderr strings.Builder
			Main(append(strings.Fields(command), "--model", dir), strings.NewReader(""), &stdout, &stderr)
			requireHarmless(t, name+" "+string(good[places[i][0]:places[i][1]]),
				stdout.String()+stderr.String())
		}
		require.NoError(t, os.WriteFile(file, good, 0o600))
	}
	for _, template := range []string{
		"{{ raise_exception('" + hostile + "') }}", "{{ '" + hostile + "' }}", "{% " + hostile +
			" %}", "{{ x." + hostile + " }}", hostile + "{{",
		"{{ '" + hostile + "' | int + [] }}", "{% include '" + hostile + "' %}", "{{ messages['" + hostile +
			"'].x.y }}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o600))
		for _, command := range []string{
			"tokenize -p x --chat", "generate -p x --chat -n 1", "info",
			"generate -p x --chat -n 1 --json",
		} {
			tryHostile(t, false, append(strings.Fields(command), "--model", dir)...)
		}
		tryHostile(t, true, "generate", "-p", "x", "--chat", "-n", "1", "--echo", "--model", dir)
	}
}

// The same for names in the cache, and for the answers of a hub.
func TestHostileHub(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", cache)
	commit := strings.Repeat("a", 40)
	for _, name := range []string{"models--org--name", "models--org--" + hostileName} {
		repo := filepath.Join(cache, name)
		for _, snapshot := range []string{commit, hostileName} {
			require.NoError(t, os.MkdirAll(filepath.Join(repo, "snapshots", snapshot), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(repo, "snapshots", snapshot, "config.json"),
				[]byte(`{"architectures": [`+fmt.Sprintf("%q", "Phi3ForCausalLM\u009b31m\u202e")+
					`], "model_type": "\u001b[2J\nphi3: forged", "torch_dtype": "\u001b[2J\u009b"}`), 0o600))
		}
		require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o700))
		for ref, to := range map[string]string{"main": commit, hostileName: commit, "other": hostileName} {
			require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", ref), []byte(to), 0o600))
		}
	}
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Error-Message", "\u009b31m\u202e\u2028")
			w.Header().Set("X-Error-Code", "\u009b31m")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, hostile)
		},
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hostile) },
		func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"sha":      hostile,
				"siblings": []any{map[string]any{"rfilename": hostile}},
			})
		},
		func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"sha": commit,
				"siblings": []any{
					map[string]any{"rfilename": "config.json", "size": 2, "blobId": hostile},
					map[string]any{"rfilename": hostile + ".safetensors"},
				},
			})
		},
	}
	for i := range answers {
		server := httptest.NewServer(answers[i])
		t.Setenv("HF_ENDPOINT", server.URL)
		tryHostile(t, false, "pull", "org/name")
		server.Close()
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	for _, args := range [][]string{
		{"models"},
		{"models", "--json"},
		{"info", "--model", "org/name"},
		{"generate", "-p", "x", "--model", "org/name"},
		{"generate", "-p", "x", "--model", "org/name", "--revision", "other"},
		{"generate", "-p", "x", "--model", "org/name", "--revision", hostile},
		{"models", "rm", "--yes", "org/name"},
		{"__complete", "generate", "--model", ""},
		{"doctor"},
	} {
		tryHostile(t, false, args...)
	}
}

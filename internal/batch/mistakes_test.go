package batch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every mistake in the input is found before anything is computed, and has its line.
func TestInputMistakes(t *testing.T) {
	const good = `{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {}}`
	for _, test := range []struct{ text, want string }{
		{"", " has no requests"},
		{"\n \n", " has no requests"},
		{good + "\n\n" + good, `, line 3: custom_id "a" is on line 1 too; each request needs its own`},
		{good + "\n{", ", line 2: is not valid JSON: it ends unfinished, at column 2"},
		{good + " x", ", line 1: is not valid JSON"},
		{"[]", ", line 1: the value is an array, not an object"},
		{strings.Replace(good, `"a"`, "7", 1), ", line 1: custom_id is a number, not a string"},
		{strings.Replace(good, `"a"`, `""`, 1), ", line 1: has no custom_id"},
		{strings.Replace(good, `custom_id`, `id`, 1), ", line 1: has no custom_id"},
		{strings.Replace(good, "POST", "GET", 1), `, line 1: method is "GET", not POST`},
		{
			strings.Replace(good, "completions", "embeddings", 1),
			`, line 1: url is "/v1/embeddings", not /v1/chat/completions or /v1/completions`,
		},
		{strings.Replace(good, `"body"`, `"text"`, 1), ", line 1: has no body"},
		{strings.Replace(good, "{}", "[]", 1), ", line 1: body is not an object"},
		{strings.Replace(good, "{}", "null", 1), ", line 1: body is not an object"},
		{strings.Replace(good, "{}", `{}, "body": {}`, 1), `, line 1: has the key "body" twice`},
		{strings.Replace(good, `"a"`, "\"\xff\"", 1), ", line 1: is not valid UTF-8"},
		{"\xef\xbb\xbf" + good, ", line 1: begins with a byte order mark"},
		{"\n" + strings.Repeat(" ", maxLine) + good, ", line 2: is longer than 16.8 MB"},
	} {
		name := filepath.Join(t.TempDir(), "in")
		require.NoError(t, os.WriteFile(name, []byte(test.text), 0o600))
		_, err := OpenInput(t.Context(), name)
		require.ErrorContains(t, err, name+test.want)
	}
	_, err := OpenInput(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "is not a regular file but a directory")
	_, err = OpenInput(t.Context(), "nowhere")
	require.EqualError(t, err, "nowhere: no such file or directory")
}

// White space around a line, carriage returns and a missing newline at the end change nothing.
func TestWhiteSpaceOfInput(t *testing.T) {
	in := file(t, "a", "b")
	want, err := OpenInput(t.Context(), in)
	require.NoError(t, err)
	defer func() { _ = want.Close() }()
	text := strings.TrimSpace(strings.ReplaceAll(read(t, in), "\n", " \r\n\r\n\t"))
	require.NoError(t, os.WriteFile(in, []byte(text), 0o600))
	got, err := OpenInput(t.Context(), in)
	require.NoError(t, err)
	defer func() { _ = got.Close() }()
	require.Equal(t, want.Len(), got.Len())
	for key, e := range want.requests {
		require.Equal(t, e.hash, got.requests[key].hash)
	}
}

// A file that is not this input's output is refused and stays as it is.
func TestForeignOutput(t *testing.T) {
	in, out := file(t, "a", "b"), filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	whole := read(t, out)
	first, second, _ := strings.Cut(whole, "\n")
	changed := strings.Replace(read(t, in), "about a", "above a", 1)
	for _, test := range []struct{ in, out, want string }{
		{out: "a text", want: ": exists and is not an output of phi3 batch; choose another --out"},
		{out: "{}\n", want: ": exists and is not an output"},
		{out: "\n", want: ": exists and is not an output"},
		{out: read(t, in), want: ": exists and is not an output"},
		{out: first + "\na text", want: ": line 2 is not a response that phi3 batch wrote; remove the line"},
		{out: first + "\n{}\n", want: ": line 2 is not a response"},
		{out: first[:99] + "\n" + second, want: ": line 1 is not a response"}, // only the last may be torn
		{out: "\x00\n" + second, want: ": exists and is not an output"},
		{out: whole + whole, want: `: line 3 answers the request "a" a second time; remove one of the two lines`},
		{
			out:  strings.Replace(whole, `"custom_id":"b"`, `"custom_id":"z"`, 1),
			want: `: line 2 answers the request "z", which ` + in + " does not have; choose another --out",
		},
		{
			in: changed, out: whole,
			want: `: line 1 answers another request "a" than line 1 of ` + in + "; remove the line, or choose another",
		},
	} {
		if test.in != "" {
			require.NoError(t, os.WriteFile(in, []byte(test.in), 0o600))
		}
		require.NoError(t, os.WriteFile(out, []byte(test.out), 0o600))
		_, _, err := run(t.Context(), in, out, 1, nil)
		require.ErrorContains(t, err, out+test.want)
		require.Equal(t, test.out, read(t, out))
	}
	_, _, err = run(t.Context(), in, t.TempDir(), 1, nil)
	require.ErrorContains(t, err, ": is not a regular file but a directory")
	_, _, err = run(t.Context(), in, filepath.Join("no", "where"), 1, nil)
	require.EqualError(t, err, "no/where: no such file or directory")
}

// A second run with another model does not add its answers.
func TestOtherModel(t *testing.T) {
	in, out := file(t, "bad", "a"), filepath.Join(t.TempDir(), "out.jsonl")
	check := func(model string) error {
		i, err := OpenInput(t.Context(), in)
		require.NoError(t, err)
		o, err := OpenOutput(t.Context(), out, i)
		require.NoError(t, err)
		defer func() { _ = o.Close() }()
		return o.CheckModel(model)
	}
	require.NoError(t, check("other"))
	_, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	require.NoError(t, check("echo"))
	require.EqualError(t, check("other"), out+": has answers of the model echo, and this run would add "+
		"answers of other; choose another --out")
}

// A request for another model is found before the model is loaded.
func TestModelOfRequests(t *testing.T) {
	in := file(t, "a", "b", "c")
	text := strings.Replace(read(t, in), `{"prompt": "about b"`, `{"model": "phi", "prompt": "about b"`, 1)
	text = strings.Replace(text, `{"prompt": "about c"`, `{"model": 7, "prompt": "about c"`, 1)
	require.NoError(t, os.WriteFile(in, []byte(text), 0o600))
	i, err := OpenInput(t.Context(), in)
	require.NoError(t, err)
	defer func() { _ = i.Close() }()
	require.NoError(t, i.CheckModel("phi"))
	require.EqualError(t, i.CheckModel("psi"), in+", line 2: the request is for the model phi; this run "+
		`has psi; put that name into the requests, or leave "model" out`)
}

package talk

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/tokenizer"
)

func TestSavedMessages(t *testing.T) {
	want := []tokenizer.Message{{Role: "user", Content: "é"}, {Role: "assistant", Content: ""}}
	for _, text := range []string{
		`[{"role": "user", "content": "é"}, {"content": "", "role": "assistant", "more": 1}]`,
		`{"model": "x", "more": [[1]], "messages": [{"role": "user", "content": "é"},
			{"role": "assistant", "content": ""}], "x": 1}`,
	} {
		got, err := savedMessages([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for text, want := range map[string]string{
		`{}`:                                 "it has no list of messages",
		`{"messages": "x"}`:                  "it has no list of messages",
		`"x"`:                                "it has no list of messages",
		"\xff\xfe[\x00":                      "it is UTF-16; save it as UTF-8",
		`[{}]`:                               "message 1 needs a role and a content",
		`[{"role": "user"}]`:                 "message 1 needs a role and a content",
		`[{"role": "tool", "content": "x"}]`: `message 1 has the role "tool", not system, user or assistant`,
	} {
		_, err := savedMessages([]byte(text))
		require.EqualError(t, err, want, text)
	}
	for _, text := range []string{
		"", "[", "[1]", `[{"role": 1, "content": "x"}]`,
		`[{"role": "user", "content": [{"type": "text"}]}]`, `[{"role":"a","role":"b","content":""}]`,
	} {
		_, err := savedMessages([]byte(text))
		require.Error(t, err, text)
		require.NotRegexp(t, `Go |struct|json:|unmarshal`, err.Error(), text)
	}
}

// A file of many small values takes a bounded multiple of its bytes: all that is allocated is counted,
// garbage included.
func TestSavedMessagesMemory(t *testing.T) {
	for _, text := range []string{
		"[" + strings.Repeat("{},", 1<<20) + "{}]",
		`{"x": [` + strings.Repeat("{},", 1<<20) + `{}], "messages": []}`,
		"[" + strings.Repeat(`{"role":"user","content":""},`, 1<<17) + `{}]`,
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, _ = savedMessages([]byte(text))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(40*len(text)), "of %.20s", text)
	}
}

// What is wrong with a file is a clause of its own, without advice for the files of a model.
func TestWrongConversations(t *testing.T) {
	for text, want := range map[string]string{
		"{":     "it is not valid JSON: it ends unfinished, at line 1, column 2",
		"\xff":  "it is not valid UTF-8",
		"5":     "it has no list of messages",
		"<html": "it is a web page (HTML)",
	} {
		_, err := savedMessages([]byte(text))
		require.EqualError(t, err, want)
	}
}

package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// withAdded is the spm fixture with one more added token, and its normalizer's " " made to become content. No
// added token is searched for in the normalized text, so that this goes piece by piece.
func withAdded(t testing.TB, content, token string) *Tokenizer {
	t.Helper()
	raw, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	old := `"pattern":{"String":" "},"content":"▁"`
	require.Contains(t, string(raw), old)
	text := strings.Replace(string(raw), old, fmt.Sprintf(`"pattern":{"String":" "},"content":%q`, content),
		1)
	text = strings.ReplaceAll(text, `"normalized":true`, `"normalized":false`)
	config := fmt.Sprintf(`{"added_tokens_decoder": {"700": {"content": %q, "normalized": false, "rstrip": true}}}`, token)
	tok, err := Load(fstest.MapFS{
		"tokenizer.json":        {Data: []byte(text)},
		"tokenizer_config.json": {Data: []byte(config)},
	})
	require.NoError(t, err)
	return tok
}

// The search for added tokens takes one step of the automaton for each byte, for any tokens. A search that
// restarts at every byte took a thousand steps here.
func TestAddedTokensInLinearTime(t *testing.T) {
	const n = 1 << 20
	tok := withAdded(t, "▁", strings.Repeat("a", 1023)+"b")
	text := strings.Repeat("a", n)
	dealt, segments := 0, 0
	start := time.Now()
	err := tok.addedRaw.split(text, nil, func(k int) error { dealt += k; return nil },
		func(segment) error { segments++; return nil })
	require.NoError(t, err)
	require.Equal(t, 1, segments)
	require.Less(t, dealt, 2*n)
	require.Less(t, time.Since(start), time.Minute)

	// White space after many tokens that swallow it is looked at once.
	tok = withAdded(t, "▁", " ")
	ids, err := tok.Encode(context.Background(), strings.Repeat(" ", n/4), EncodeOptions{NoBOS: true})
	require.NoError(t, err)
	require.Len(t, ids, n/4, "Hugging Face goes on inside what a token has swallowed")
}

// The longest token that begins first wins, as a search by the book finds it.
func TestAddedTokensByTheBook(t *testing.T) {
	tokens := []string{"ab", "abcab", "bc", "c", "cabd", "bcabcabc", "日", "日本"}
	set := &addedSet{}
	for i, token := range tokens {
		set.add(token, &addedToken{id: int32(i), content: token})
	}
	set.build()
	letters := []string{"a", "b", "c", "d", "日", "本"}
	state := uint32(1)
	for range 3000 {
		text := ""
		for range 30 {
			state = state*1664525 + 1013904223
			text += letters[state>>16%6]
		}
		var want, got []string
		for rest := text; rest != ""; {
			best := ""
			for _, token := range tokens {
				if strings.HasPrefix(rest, token) && len(token) > len(best) {
					best = token
				}
			}
			if best == "" {
				rest = rest[1:]
				continue
			}
			want = append(want, best)
			rest = rest[len(best):]
		}
		require.NoError(t, set.split(text, nil, func(int) error { return nil }, func(s segment) error {
			if s.token != nil {
				got = append(got, s.token.content)
			}
			return nil
		}))
		require.Equal(t, want, got, text)
	}
}

// Counting stops at the bound: 16 MB of text that normalizing would make 16 times as long take no memory of
// that size.
func TestEncodeStopsAtMax(t *testing.T) {
	race.SkipAlone(t)
	tok := withAdded(t, strings.Repeat("x", 16), "<NEW>")
	var many *TooManyError
	for _, text := range []string{
		strings.Repeat(" ", 16<<20), strings.Repeat("a", 16<<20),
		strings.Repeat("<|end|>", 2<<20),
	} {
		got := allocated(func() {
			_, err := tok.Encode(context.Background(), text, EncodeOptions{Max: 4096})
			require.ErrorAs(t, err, &many)
			require.Equal(t, 4096, many.Max)
		})
		require.Less(t, got, 64<<20)
	}
	// With such a token normalizing is in one piece, and bounded by itself.
	raw, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	whole, err := Load(fstest.MapFS{"tokenizer.json": {Data: []byte(strings.Replace(string(raw),
		`"content":"▁"`, `"content":"xxxxxxxxxxxxxxxx"`, 1))}})
	require.NoError(t, err)
	_, err = whole.Encode(context.Background(), strings.Repeat(" ", 16<<20), EncodeOptions{Max: 4096})
	require.EqualError(t, err, "the tokenizer's normalizer can make a text 16 times as long, which for "+
		"16777216 bytes is more than 67108864")
	// The bound is exact, where a text is nearly that long.
	for _, kind := range fixtures {
		tok := fixture(t, kind)
		for _, text := range []string{
			prose(3000), strings.Repeat("a", 500), strings.Repeat("<|end|>", 50),
			"日本🙂",
		} {
			ids, err := tok.Encode(context.Background(), text, EncodeOptions{})
			require.NoError(t, err)
			same, err := tok.Encode(context.Background(), text, EncodeOptions{Max: len(ids)})
			require.NoError(t, err)
			require.Equal(t, ids, same)
			if len(ids) > 1 {
				_, err = tok.Encode(context.Background(), text, EncodeOptions{Max: len(ids) - 1})
				require.ErrorAs(t, err, &many)
			}
		}
	}
}

// Ctrl-C ends encoding, in the middle of a word that is the whole text too.
func TestEncodeEndsWithItsContext(t *testing.T) {
	for _, kind := range fixtures {
		tok := fixture(t, kind)
		for name, text := range map[string]string{
			"one word": strings.Repeat("a", 6<<20), "spaces": strings.Repeat(" ",
				6<<20), "tokens": strings.Repeat("<|end|>", 1<<20),
			"broken": strings.Repeat("\xff", 6<<20), "prose": strings.Repeat("the time is now. ", 1<<19),
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			start := time.Now()
			_, err := tok.Encode(ctx, text, EncodeOptions{})
			cancel()
			require.Less(t, time.Since(start), time.Minute, "%s of %s", name, kind)
			require.True(t, errors.Is(err, context.DeadlineExceeded), "%s of %s: %v", name, kind, err)
		}
	}
}

// A word is bounded: 30 bytes of memory for each of its bytes.
func TestWordTooLong(t *testing.T) {
	race.SkipAlone(t)
	for _, kind := range fixtures {
		_, err := fixture(t, kind).Encode(context.Background(), strings.Repeat("a", maxWord+1),
			EncodeOptions{})
		require.ErrorContains(t, err, "the text has a word of more than 16777216 bytes")
	}
}

// Normalizing piece by piece gives what normalizing at once gives, wherever the pieces end.
func TestChanger(t *testing.T) {
	for _, steps := range [][]step{
		{{prefix: "▁"}, {old: " ", new: "▁"}},
		{{old: " ", new: "▁"}, {prefix: "▁", unless: true, first: true}},
		{{old: "ab", new: "b"}, {old: "bb", new: "a"}, {prefix: "xy", unless: true}},
		{{old: "aab", new: ""}, {prefix: "p"}, {old: "pa", new: "abab"}},
	} {
		for _, text := range []string{
			"", "a", "ab", "aab", "aaaab b ab", "▁a b", "xyz", "abababaabab aab  b",
			"bbbbb",
		} {
			for _, first := range []bool{true, false} {
				for size := 1; size < 5; size++ {
					c := newChanger(steps)
					c.begin(first)
					var out []byte
					for rest := text; ; {
						n := min(size, len(rest))
						out = c.push(out, rest[:n], n == len(rest))
						if rest = rest[n:]; rest == "" {
							break
						}
					}
					require.Equal(t, change(steps, text, first), string(out), "%q in pieces of %d, %v", text,
						size, steps)
				}
			}
		}
	}
}

// allocated is how many bytes f allocates, all of them together, whether or not they are garbage soon.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

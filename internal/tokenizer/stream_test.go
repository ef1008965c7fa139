package tokenizer

import (
	"context"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

func TestStream(t *testing.T) {
	tok := fixture(t, "spm")
	ids := func(text string) []int32 {
		got, err := tok.Encode(context.Background(), text, EncodeOptions{NoBOS: true})
		require.NoError(t, err)
		return got
	}
	push := func(s *Stream, ids ...int32) string {
		text := ""
		for _, id := range ids {
			text += s.Push(id)
		}
		return text
	}
	// After a prompt the leading space stays; without one it is the "▁" that every text begins with, and
	// goes.
	require.Equal(t, " Berlin", push(tok.NewStream(ids("is"), true), ids("Berlin")...))
	require.Equal(t, "Berlin", push(tok.NewStream(nil, true), ids("Berlin")...))
	// A prompt of special tokens only has no text, so it leaves the space to be stripped, as decoding all of
	// it would.
	end, _ := tok.ID("<|end|>")
	require.Equal(t, "Berlin", push(tok.NewStream([]int32{end}, true), ids("Berlin")...))
	require.Equal(t, " Berlin", push(tok.NewStream([]int32{end}, false), ids("Berlin")...))

	// "🙂" is F0 9F 99 82: ids 3 + byte. Nothing shows before it is whole.
	s := tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F, 3+0x99))
	require.Equal(t, "🙂", s.Push(3+0x82))
	require.Equal(t, "", s.Flush())
	// Half of it shows as U+FFFD when a letter follows or the text ends. A skipped token ends nothing.
	s = tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F, end))
	require.Equal(t, "�� is", push(s, ids("is")...))
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F))
	require.Equal(t, "��", s.Flush())
	require.Equal(t, "", s.Flush())
	// The first broken byte breaks what is left of the run, as Hugging Face's decoders have it, and is said
	// when the run ends.
	s = tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xD4, 3+0x10, 3+'a'))
	require.Equal(t, "��� is", push(s, ids("is")...))
	require.Equal(t, "\n", push(s, 3+'\n', 3+0xD4))
	require.Equal(t, "", push(s, 3+'\n'))
	require.Equal(t, "��", s.Flush())
	// A character that the prompt began is completed.
	require.Equal(t, "🙂", push(tok.NewStream([]int32{3 + 0xF0, 3 + 0x9F}, true), 3+0x99, 3+0x82))
	// Ids without token say nothing.
	require.Equal(t, "", push(s, -1, 1<<20, 1<<30))
}

// Whatever the ids, streaming gives Decode's text, apart from runs of byte tokens that are not valid.
func TestStreamEqualsDecode(t *testing.T) {
	race.SkipAlone(t)
	for _, kind := range fixtures {
		tok := fixture(t, kind)
		r := rand.New(rand.NewSource(5))
		for range 3000 {
			ids := make([]int32, r.Intn(20))
			for i := range ids {
				ids[i] = int32(r.Intn(tok.VocabSize() + 3))
			}
			cut, skip := r.Intn(len(ids)+1), r.Intn(2) == 0
			// Where a run of byte tokens begins with whole characters and then breaks, a stream has returned
			// these. (See Stream.)
			if kind == "spm" && wholeThenBroken(tok, ids, skip) {
				continue
			}
			full, prompt := tok.Decode(ids, skip), tok.Decode(ids[:cut], skip)
			if strings.HasSuffix(prompt, "�") {
				cut, prompt = 0, ""
			}
			s := tok.NewStream(ids[:cut], skip)
			got := ""
			for _, id := range ids[cut:] {
				piece := s.Push(id)
				require.True(t, utf8.ValidString(piece))
				got += piece
			}
			require.Equal(t, full, prompt+got+s.Flush(), "%s: %v, prompt of %d", kind, ids, cut)
		}
	}
}

// The bytes of the tokens, one after the other, are the text.
func TestBytes(t *testing.T) {
	race.SkipAlone(t)
	for _, kind := range fixtures {
		tok := fixture(t, kind)
		r := rand.New(rand.NewSource(6))
		for range 3000 {
			ids := make([]int32, r.Intn(20))
			var all []byte
			for i := range ids {
				ids[i] = int32(r.Intn(tok.VocabSize() + 3))
				all = append(all, tok.Bytes(ids[i])...)
			}
			// SentencePiece replaces each byte of a broken run; see Stream.
			if kind == "spm" && !utf8.Valid(all) {
				continue
			}
			x, err := tok.Encode(context.Background(), "x", EncodeOptions{NoBOS: true})
			require.NoError(t, err)
			s := tok.NewStream(x, false)
			got := ""
			for _, id := range ids {
				got += s.Push(id)
			}
			require.Equal(t, ValidUTF8(string(all)), got+s.Flush(), "%s: %v", kind, ids)
		}
		end, _ := tok.ID(map[bool]string{true: "<|end|>", false: "<|endoftext|>"}[kind == "spm"])
		require.Equal(t, tok.Decode([]int32{end}, false), string(tok.Bytes(end)), "a special token's name")
	}
	spm := fixture(t, "spm")
	require.Equal(t, []byte{0xF0}, spm.Bytes(3+0xF0))
	require.Empty(t, spm.Bytes(-1))
	require.Empty(t, spm.Bytes(1<<20))
}

// Long lists are decoded in chunks, which must not show: not at a chunk's end, not in a run of bytes over
// several.
func TestDecodeInChunks(t *testing.T) {
	race.SkipAlone(t)
	tok := fixture(t, "spm")
	is, _ := tok.ID("▁is")
	for _, n := range []int{
		decodeChunk - 1, decodeChunk, decodeChunk + 1, 2*decodeChunk + 3,
		5 * decodeChunk,
	} {
		words := slices.Repeat([]int32{is}, n)
		require.Equal(t, strings.Repeat(" is", n)[1:], tok.Decode(words, false))
		newlines := slices.Repeat([]int32{3 + '\n'}, n)
		require.Equal(t, strings.Repeat("\n", n)+" is", tok.Decode(append(newlines, is), false))
		require.Equal(t, "is"+strings.Repeat("\n", n)+" is",
			tok.Decode(slices.Concat(words[:1], newlines, words[:1]), false))
		require.True(t, strings.Repeat("�", n+1)+" is" == tok.Decode(append(newlines, 3+0xD4, is), false))
		require.True(t, strings.Repeat("�", n+1) == tok.Decode(append(newlines, 3+0xD4), false))
	}
	level := fixture(t, "cl100k")
	text := strings.Repeat("中文 字x é", decodeChunk)
	ids, err := level.Encode(context.Background(), text, EncodeOptions{})
	require.NoError(t, err)
	require.True(t, text == level.Decode(ids, false))
}

// wholeThenBroken reports whether a run of byte tokens has a whole character and then a broken one.
func wholeThenBroken(tok *Tokenizer, ids []int32, skip bool) bool {
	var run []byte
	for i := 0; i <= len(ids); i++ {
		if i < len(ids) {
			piece := tok.rawPiece(ids[i])
			if c, ok := byteToken(piece); ok {
				run = append(run, c)
				continue
			}
			if piece == "" || skip && tok.special[ids[i]] {
				continue
			}
		}
		if r, _ := utf8.DecodeRune(run); len(run) > 0 && r != utf8.RuneError && !utf8.Valid(run) {
			return true
		}
		run = nil
	}
	return false
}

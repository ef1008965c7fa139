package tokenizer

import (
	"context"
	"math/rand"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// prose makes n bytes of English-like text with a vocabulary that keeps growing, as real text's does (Heaps'
// law).
func prose(n int) string {
	r := rand.New(rand.NewSource(1))
	syllables := strings.Fields("the of an in ing er tion al re con ver ment able ly to be it at is and ra " +
		"ti no li mo de ca si pro per su ter")
	var words []string
	var out strings.Builder
	for out.Len() < n {
		if len(words) < 10 || r.Intn(20) == 0 {
			word := ""
			for range 1 + r.Intn(4) {
				word += syllables[r.Intn(len(syllables))]
			}
			words = append(words, word)
		}
		// The older a word, the more frequent (Zipf's law, roughly).
		word := words[int(float64(len(words))*r.Float64()*r.Float64()*r.Float64())]
		switch r.Intn(60) {
		case 0:
			out.WriteString(word + ".\n\n" + strings.ToUpper(word[:1]) + word[1:] + " ")
		case 1, 2, 3:
			out.WriteString(word + ", ")
		case 4, 5:
			out.WriteString(word + ". ")
		default:
			out.WriteString(word + " ")
		}
	}
	return out.String()[:n]
}

// BenchmarkEncode encodes 1 MB on one thread; cold starts each time with an empty word cache.
func BenchmarkEncode(b *testing.B) {
	data := phi3Data(b)
	letters := strings.Repeat("a", 1<<20)
	random := make([]byte, 1<<20)
	rand.New(rand.NewSource(2)).Read(random)
	texts := []struct{ name, text string }{
		{"prose", prose(1 << 20)},
		{"one letter", letters},
		{"spaces", strings.Repeat(" ", 1<<20)},
		{"random bytes", string(random)},
	}
	for _, kind := range []string{
		"Phi-3-mini-4k-instruct/tokenizer.json",
		"Phi-4-mini-instruct/tokenizer.assembled.json",
	} {
		fsys := onlyTokenizerJSON(b, filepath.Join(data, filepath.FromSlash(kind)))
		tok, err := Load(fsys)
		require.NoError(b, err)
		encode := func(b *testing.B, text string, cold bool) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if cold {
					tok.mergers = sync.Pool{New: tok.mergers.New}
				}
				_, err := tok.Encode(context.Background(), text, EncodeOptions{})
				require.NoError(b, err)
			}
		}
		for _, x := range texts {
			b.Run(filepath.Dir(kind)+"/"+x.name, func(b *testing.B) { encode(b, x.text, false) })
		}
		b.Run(filepath.Dir(kind)+"/prose, cold", func(b *testing.B) { encode(b, texts[0].text, true) })
	}
}

// BenchmarkLoad reads real tokenizer files.
func BenchmarkLoad(b *testing.B) {
	data := phi3Data(b)
	for _, kind := range []string{
		"Phi-3-mini-4k-instruct/tokenizer.json", "phi-4/tokenizer.assembled.json",
		"Phi-4-mini-instruct/tokenizer.assembled.json",
	} {
		fsys := onlyTokenizerJSON(b, filepath.Join(data, filepath.FromSlash(kind)))
		b.Run(filepath.Dir(kind), func(b *testing.B) {
			for b.Loop() {
				start := time.Now()
				_, err := Load(fsys)
				require.NoError(b, err)
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms")
			}
		})
	}
}

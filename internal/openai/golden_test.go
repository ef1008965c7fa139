package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden; look at them before they are committed")

// Requests and their responses are those of testdata: after a line "> ENDPOINT BODY" come the JSON objects of
// the response, each on a line, with the status of an error before it.
func TestGoldens(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 10, NoPrefixCache: true})
	s.Fingerprint = "phi3-test"
	for _, name := range []string{"testdata/responses.golden", "testdata/mistakes.golden"} {
		golden, err := os.ReadFile(name)
		require.NoError(t, err)
		var got bytes.Buffer
		for line := range strings.Lines(string(golden)) {
			request, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
			switch {
			case ok:
				got.WriteString(line)
				endpoint, body, _ := strings.Cut(request, " ")
				s.respond(t.Context(), &got, endpoint, body)
			case strings.HasPrefix(line, "#") || line == "\n":
				got.WriteString(line)
			}
		}
		if *update {
			require.NoError(t, os.WriteFile(name, got.Bytes(), 0o644))
			continue
		}
		wantText, wantNumbers := apart(string(golden))
		gotText, gotNumbers := apart(got.String())
		require.Equal(t, wantText, gotText, name)
		require.InDeltaSlice(t, wantNumbers, gotNumbers, 0.03, name)
	}
}

// respond writes the response to a request.
func (s *Service) respond(ctx context.Context, to *bytes.Buffer, endpoint, body string) {
	write := func(v any, err error) {
		if err != nil {
			fmt.Fprintf(to, "%d ", AsError(err).Status)
			v = AsError(err)
		}
		encoder := json.NewEncoder(to)
		encoder.SetEscapeHTML(false)
		at := to.Len()
		if err := encoder.Encode(v); err != nil {
			panic(err)
		}
		written := to.String()[at:]
		to.Truncate(at)
		to.WriteString(settled(written))
	}
	where := map[string]Endpoint{"chat": Chat, "completion": Completion}[endpoint]
	switch endpoint {
	case "tokenize":
		write(s.Tokenize(ctx, []byte(body)))
		return
	case "detokenize":
		write(s.Detokenize(ctx, []byte(body)))
		return
	}
	a, err := s.read(ctx, where, body)
	switch {
	case err != nil:
		write(nil, err)
	case a.Stream():
		for chunk, err := range a.Chunks(ctx) {
			write(chunk, err)
		}
	default:
		write(a.Whole(ctx))
	}
}

// fraction is a number that the model computed.
var fraction = regexp.MustCompile(`-?\d+\.\d\d\b`)

// apart takes the fractions out of a text: the paths of the CPU round differently.
func apart(s string) (rest string, fractions []float64) {
	rest = fraction.ReplaceAllStringFunc(s, func(found string) string {
		x, err := strconv.ParseFloat(found, 64)
		if err != nil {
			panic(err)
		}
		fractions = append(fractions, x)
		return "0.00"
	})
	return rest, fractions
}

// volatile is what differs from run to run, or in the last digits between processors.
var volatile = regexp.MustCompile(`("id":"(chatcmpl|cmpl)-|"created":)[0-9a-z]+|\d+\.\d{4,}(e-\d+)?`)

// settled replaces it.
func settled(s string) string {
	return volatile.ReplaceAllStringFunc(s, func(found string) string {
		if x, err := strconv.ParseFloat(found, 64); err == nil {
			return strconv.FormatFloat(x, 'f', 2, 64)
		}
		return found[:strings.LastIndexAny(found, "-:")+1] + "0"
	})
}

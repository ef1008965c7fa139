package serve

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
)

// What the server adds to a token of a stream: the same answers of the built-in model from the engine and
// over HTTP, in turn. Both metrics are medians, in microseconds a token; the third is the median of the
// differences of the pairs. Each client reads its answer to the end, so the time of the first token is in it.
func BenchmarkAddedTime(b *testing.B) {
	s := start(b, setup{context: 512, parallel: 1, queue: 1})
	const tokens = 400
	request := engine.Request{IDs: []int32{303, 1704, 2298, 303, 1704, 2298}, MaxNewTokens: tokens}
	body := fmt.Sprintf(`{"prompt": [303, 1704, 2298, 303, 1704, 2298], "max_tokens": %d, "temperature": 0, `+
		`"ignore_eos": true, "stream": true}`, tokens)
	each := func(begun time.Time) float64 { return float64(time.Since(begun).Microseconds()) / tokens }
	var direct, http, added []float64
	for b.Loop() {
		begun := time.Now()
		for _, err := range s.engine.Generate(b.Context(), request) {
			require.NoError(b, err)
		}
		direct = append(direct, each(begun))

		begun = time.Now()
		response := s.begin(body)
		_, err := io.Copy(io.Discard, response.Body)
		require.NoError(b, err)
		require.NoError(b, response.Body.Close())
		http = append(http, each(begun))
		added = append(added, http[len(http)-1]-direct[len(direct)-1])
	}
	median := func(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
	b.ReportMetric(median(direct), "engine-µs/token")
	b.ReportMetric(median(http), "http-µs/token")
	b.ReportMetric(median(added), "added-µs/token")
}

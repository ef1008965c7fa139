package serve

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoak keeps a server busy for $PHI3_SOAK, such as 30m (make soak): answers that must be the same, byte
// for byte, as alone, clients that go away, mistakes, and pauses. Memory and goroutines must not grow.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("PHI3_SOAK"))
	if err != nil {
		t.Skip("PHI3_SOAK is not set to a duration")
	}
	bodies := requests200()
	for i := range bodies { // longer prompts that begin alike
		begin := strings.Repeat("The capital of Italy is Rome. ", i%50)
		bodies[i] = strings.Replace(bodies[i], "The", begin+"The", 1)
	}
	alone := make([]string, len(bodies))
	s := start(t, setup{parallel: 16, queue: 64, client: &http.Transport{MaxIdleConnsPerHost: 64}})
	for i, body := range bodies {
		_, answer := s.post("/v1/completions", body)
		alone[i] = comparable(t, answer)
	}
	var answers, cut, refused atomic.Int64
	busy := func(d time.Duration) {
		end := time.Now().Add(d)
		var clients sync.WaitGroup
		for client := range 40 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(uint64(client), uint64(end.UnixNano())))
				for time.Now().Before(end) && !t.Failed() {
					switch i := random.IntN(len(bodies)); random.IntN(10) {
					case 0:
						s.goAway(bodies[i], time.Duration(random.IntN(30))*time.Millisecond)
						cut.Add(1)
					case 1:
						response, _ := s.post("/v1/completions", bodies[i][:len(bodies[i])/2])
						if response.StatusCode != http.StatusBadRequest {
							t.Errorf("half a body: %d", response.StatusCode)
						}
						refused.Add(1)
					default:
						response, answer := s.post("/v1/completions", bodies[i])
						got := comparable(t, answer)
						if response.StatusCode != http.StatusOK || got != alone[i] {
							t.Errorf("request %d: %d %s, not %s", i, response.StatusCode, got, alone[i])
						}
						answers.Add(1)
					}
				}
			})
		}
		clients.Wait()
	}
	// rest returns what is in use when nothing runs.
	rest := func() (heap uint64, goroutines int) {
		eventually(t, func() bool { st := s.engine.Stats(); return st.Running+st.Waiting == 0 })
		s.client.CloseIdleConnections()
		time.Sleep(time.Second)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%d answers, %d clients gone, %d refused; heap %.1f MB, %d goroutines; %+v", answers.Load(),
			cut.Load(), refused.Load(), float64(m.HeapAlloc)/1e6, runtime.NumGoroutine(), s.engine.Stats())
		s.logged.forget()
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	const parts = 10
	busy(length / parts) // fills caches and pools
	heap, goroutines := rest()
	for range parts - 1 {
		busy(length / parts)
		later, now := rest()
		require.Less(t, later, heap+heap/4+(4<<20), "the heap grows")
		require.LessOrEqual(t, now, goroutines+2, "goroutines are left")
	}
}

// goAway sends a request and closes the connection after a time.
func (s *served) goAway(body string, after time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/completions",
		strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if response, err := s.client.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
}

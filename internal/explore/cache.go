package explore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"sync"

	"phi3/internal/engine"
	"phi3/internal/sampling"
)

// mostCaches is how many views of the KV cache are computed at once; others wait. A view takes two places of
// the engine for a long time, because all its steps are its own. Ordinary requests need places too.
const mostCaches = 2

// CacheRequest is the body of POST /explore/cache.
type CacheRequest struct {
	IDs          []int32 `json:"ids"`
	MaxNewTokens int     `json:"max_new_tokens"` // 1 … 256
}

// CacheEvent is an event of the response: a token of one of the two runs. The runs choose the most probable
// token each time, and end where phi3 generate does. Their steps take turns. An engine that runs one request
// at a time computes the run with the cache first.
type CacheEvent struct {
	Cache    bool  `json:"cache"` // the run that keeps keys and values
	Index    int   `json:"index"` // of the token, from 0
	Token    Token `json:"token"`
	Computed int   `json:"computed"` // positions computed for this token
	// positions before them whose keys and values were read from the cache; for the first token, those that
	// the server knew from an earlier request
	Read int `json:"read"`
	// of the keys and values that are kept after this token: those of the positions before it. The server
	// reserves memory for them in blocks of 128 positions.
	Bytes  int64   `json:"bytes"`
	MS     float64 `json:"ms"`                      // time of this run's own steps
	Hash   string  `json:"hash"`                    // 16 digits: SHA-256 of the logits as float32, little endian
	Finish string  `json:"finish_reason,omitempty"` // of the last token: stop, length or context
}

// CacheEnd is the last event.
type CacheEnd struct {
	Done bool `json:"done"`
	Same bool `json:"same"` // all hashes of both runs are equal
}

// Cache generates a text with and without the KV cache. If one of the runs fails, the other one ends.
func (e *Explorer) Cache(ctx context.Context, body []byte, events Events) error {
	r, err := e.parseCache(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	leave, err := enter(ctx, e.caches)
	if err != nil {
		return err
	}
	defer leave()
	var failed error
	hashes := map[bool][]string{} // by CacheEvent.Cache
	for result := range e.cacheRuns(ctx, r) {
		if failed == nil {
			if failed = result.err; failed == nil {
				hashes[result.Cache] = append(hashes[result.Cache], result.Hash)
				failed = events(result.CacheEvent)
			}
		}
		if failed != nil {
			cancel() // the loop ends when both runs have ended
		}
	}
	if failed == nil {
		failed = ctx.Err()
	}
	if failed != nil {
		return failed
	}
	return events(CacheEnd{Done: true, Same: slices.Equal(hashes[true], hashes[false])})
}

// cacheResult is a token of a run, or the error that ends the run.
type cacheResult struct {
	CacheEvent
	err error
}

// cacheRuns begins both runs. The channel has their tokens as they come, and is closed when both have ended.
func (e *Explorer) cacheRuns(ctx context.Context, r CacheRequest) <-chan cacheResult {
	results := make(chan cacheResult)
	go func() {
		defer close(results)
		var runs sync.WaitGroup
		for _, cache := range []bool{true, false} {
			runs.Go(func() { e.cacheRun(ctx, r, cache, results) })
			if e.Engine.Parallel() == 1 { // such an engine may have no queue either
				runs.Wait()
			}
		}
		runs.Wait()
	}()
	return results
}

// cacheRun generates the text, with or without the cache.
func (e *Explorer) cacheRun(ctx context.Context, r CacheRequest, cache bool, results chan<- cacheResult) {
	// Room for all: Sample must not wait.
	hashes := make(hashing, r.MaxNewTokens)
	request := engine.Request{
		IDs: r.IDs, MaxNewTokens: r.MaxNewTokens, Stop: e.Config.EOS, Sampler: hashes, Alone: true,
		NoCache: !cache,
	}
	index := 0
	for token, err := range e.Engine.Generate(ctx, request) {
		result := cacheResult{err: err}
		if err == nil {
			result.CacheEvent = CacheEvent{
				Cache: cache, Index: index, Token: e.token(token.ID), Computed: token.Fed, Read: token.Cached,
				MS: token.Time.Seconds() * 1000, Hash: <-hashes, Finish: string(token.Finish),
			}
			if cache {
				result.Bytes = int64(token.Cached+token.Fed) * e.Config.KVBytesPerToken(e.KVElemBytes)
			}
			index++
		}
		select {
		case results <- result:
		case <-ctx.Done():
			return
		}
	}
}

// hashing is a sampler that takes the most probable token, and hands out the hash of each row of logits.
type hashing chan string

func (h hashing) Sample(logits []float32, _ []int32) (int32, error) {
	sum := sha256.New()
	bytes := make([]byte, 0, 4096)
	for row := range slices.Chunk(logits, cap(bytes)/4) {
		bytes = bytes[:0]
		for _, x := range row {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(x))
		}
		sum.Write(bytes)
	}
	h <- hex.EncodeToString(sum.Sum(nil)[:8])
	return sampling.Greedy(logits), nil
}

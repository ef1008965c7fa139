package explore

import "context"

// CacheRequest is the body of POST /explore/cache.
type CacheRequest struct {
	IDs          []int32 `json:"ids"`
	MaxNewTokens int     `json:"max_new_tokens"` // 1 … 256
}

// CacheEvent is an event of the response: a token of one of the two runs, which take turns. The runs choose
// the most probable token each time.
type CacheEvent struct {
	Cache    bool    `json:"cache"` // the run that keeps keys and values
	Index    int     `json:"index"` // of the token, from 0
	Token    Token   `json:"token"`
	Computed int     `json:"computed"`                // positions computed for this token
	Read     int     `json:"read"`                    // positions before them whose keys and values were read from the cache
	Bytes    int64   `json:"bytes"`                   // of keys and values that are kept after this token
	MS       float64 `json:"ms"`                      // time of this run's own steps
	Hash     string  `json:"hash"`                    // SHA-256 of the logits' bytes (float32, little endian), the first 16 digits
	Finish   string  `json:"finish_reason,omitempty"` // of the last token
}

// CacheEnd is the last event.
type CacheEnd struct {
	Done bool `json:"done"`
	Same bool `json:"same"` // all hashes of both runs are equal
}

// Cache generates a text with and without the KV cache.
func (e *Explorer) Cache(ctx context.Context, body []byte, events Events) error { return errNotYet }

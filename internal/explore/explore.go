// Package explore computes what the page of phi3 explore shows of a model: the tokens of a text, the logit
// lens of every layer and position, attention, the next token through the steps of sampling, and generation
// with and without the KV cache. It knows neither HTTP nor the page.
//
//	body ──parse──► ids ──engine (with a Watch)──► numbers ──► the values of docs/json.md
//
// Every number is one that the model computes for phi3 next-token --json too, bit for bit. Each view is a
// request of its own, so a view that nobody opens costs nothing. What is watched or timed has steps of its
// own in the engine. The next token is an ordinary request, which shares steps and the prefix cache with
// others.
package explore

import (
	"context"

	"phi3/internal/openai"
)

// MaxPositions is the most positions that the layers' grid and the attention show: the last ones of a text.
const MaxPositions = 128

// Explorer answers the page's requests. Any number of goroutines may use it.
type Explorer struct {
	*openai.Service
	Device      string        // the model's device, for people
	KVElemBytes int           // of one number in the KV cache
	rows        rows          // logits of texts that were asked about before
	grids       chan struct{} // has an element for each grid that is being computed
	attentions  chan struct{} // has an element for each attention that is being computed
	caches      chan struct{} // has an element for each view of the KV cache that is being computed
}

// New returns an explorer of a service's model. Its KV cache has bfloat16 numbers; change KVElemBytes before
// the first request if it has others.
func New(s *openai.Service, device string) *Explorer {
	return &Explorer{
		Service: s, Device: device, KVElemBytes: 2, grids: make(chan struct{}, mostGrids),
		attentions: make(chan struct{}, mostAttentions), caches: make(chan struct{}, mostCaches),
	}
}

// enter waits for a place in a channel that bounds what is computed at once. The first that waits is the
// first to get one. leave gives the place back.
func enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, openai.AsError(ctx.Err())
	}
}

// About is the response to GET /explore/model.
type About struct {
	Name          string   `json:"name"`
	Device        string   `json:"device"`
	Layers        int      `json:"layers"`
	Heads         int      `json:"heads"`
	KVHeads       int      `json:"kv_heads"`
	HiddenSize    int      `json:"hidden_size"`
	VocabSize     int      `json:"vocab_size"`
	Context       int      `json:"context"`
	KVBytes       int64    `json:"kv_bytes_per_token"` // of the KV cache, all layers together
	SlidingWindow int      `json:"sliding_window,omitempty"`
	ChatTemplate  bool     `json:"chat_template"`
	EOS           []int32  `json:"eos"`           // the ids that end a text
	MaxPositions  int      `json:"max_positions"` // MaxPositions
	Sampling      Sampling `json:"sampling"`      // the checkpoint's own settings
}

// Events hands events out one by one. An error ends them: the client is gone.
type Events func(event any) error

// Model returns what the page must know about the model.
func (e *Explorer) Model() About {
	c := e.Config
	return About{
		Name: e.Name, Device: e.Device, Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads,
		HiddenSize: c.HiddenSize, VocabSize: c.VocabSize, Context: e.Context,
		KVBytes: c.KVBytesPerToken(e.KVElemBytes), SlidingWindow: c.SlidingWindow,
		ChatTemplate: e.Codec.Tokenizer.HasChatTemplate(), EOS: append([]int32{}, c.EOS...),
		MaxPositions: MaxPositions, Sampling: e.sampling(),
	}
}

// sampling is the checkpoint's own settings, as the protocol takes them: those for draws count even where the
// checkpoint says do_sample false. So the temperature is never 0 here, and where the checkpoint says nothing,
// the settings leave the model's distribution as it is.
func (e *Explorer) sampling() Sampling {
	s := e.Defaults.Sampling
	if !e.Defaults.GivesTopK {
		s.TopK = 0 // as in the protocol
	}
	return Sampling{
		Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, MinP: s.MinP,
		RepetitionPenalty: s.RepetitionPenalty, FrequencyPenalty: s.FrequencyPenalty,
		PresencePenalty: s.PresencePenalty,
	}
}

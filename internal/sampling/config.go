package sampling

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// IDs are token ids that JSON may give as one number.
type IDs []int32

// UnmarshalJSON implements [json.Unmarshaler].
func (ids *IDs) UnmarshalJSON(text []byte) error {
	var one *int32
	if json.Unmarshal(text, &one) == nil {
		if one != nil {
			*ids = IDs{*one}
		}
		return nil
	}
	if json.Unmarshal(text, (*[]int32)(ids)) != nil {
		return errors.New("what should be a token id, or a list of them, is something else")
	}
	return nil
}

// Config says how to choose tokens. Start from [Defaults]; the zero value is not valid. A
// generation_config.json can be decoded into a Config. DoSample is not read from it: the user decides.
type Config struct {
	// above 0; divides the scores of ids that occurred, and multiplies negative ones; 1: off
	RepetitionPenalty float32 `json:"repetition_penalty"`
	NoRepeatNGram     int     `json:"no_repeat_ngram_size"` // no n ids in a row occur twice; 0: off
	MinNewTokens      int     `json:"min_new_tokens"`       // new tokens before EOS is allowed; 0: off
	EOS               []int32 `json:"-"`

	// The next three fields are parameters of OpenAI's protocol. generation_config.json does not have them.

	// -2 … 2; lowers the score of every id of the text, once for each time that it occurs there; 0: off
	FrequencyPenalty float32 `json:"-"`
	// -2 … 2; lowers the score of every id that occurs in the text; 0: off
	PresencePenalty float32 `json:"-"`
	// -100 … 100; is added to the scores of ids; ids beyond the vocabulary are ignored
	LogitBias map[int32]float32 `json:"-"`

	// The fields up to MaxNewTokens have no flags; only a checkpoint sets them. Ids beyond the vocabulary are
	// ignored.

	// lists of ids that never occur in a row; a list of one EOS id is ignored
	BadWords [][]int32 `json:"bad_words_ids,omitempty"`
	// like MinNewTokens, but counts the tokens of the prompt too; 0: off
	MinLength int `json:"min_length,omitempty"`
	// the only choice after a prompt of one token
	ForcedBOS *int32 `json:"forced_bos_token_id,omitempty"`
	// the only choices for the last of MaxNewTokens
	ForcedEOS     IDs     `json:"forced_eos_token_id,omitempty"`
	Suppress      []int32 `json:"suppress_tokens,omitempty"`       // never chosen
	SuppressFirst []int32 `json:"begin_suppress_tokens,omitempty"` // not chosen as the first new token
	MaxNewTokens  int     `json:"-"`                               // for ForcedEOS

	// draw from the tokens that the fields below leave; false: take the most probable token
	DoSample    bool    `json:"-"`
	Temperature float32 `json:"temperature"` // at least 1e-20; divides the scores; 1: off
	TopK        int     `json:"top_k"`       // keep the k highest scores, and those equal to the last; 0: off
	// 0 … 1; keep the fewest tokens that have this probability together; 1: off
	TopP float64 `json:"top_p"`
	// 0 … 1; keep tokens with this fraction of the highest probability; 0: off
	MinP float64 `json:"min_p"`
	// above 0, up to 1; like TopP, but those nearest to the entropy come first; 1: off
	TypicalP float64 `json:"typical_p"`
}

// Defaults returns the defaults of Hugging Face. They change nothing, except that draws use a top-k of 50.
func Defaults() Config {
	return Config{RepetitionPenalty: 1, Temperature: 1, TopK: 50, TopP: 1, TypicalP: 1}
}

// RangeError says which field of a [Config] is out of range.
type RangeError struct {
	Field string // as in generation_config.json or in OpenAI's protocol
	Value any
	Range string // of valid values, such as "above 0"
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%s is %v, not %s", e.Field, e.Value, e.Range)
}

// leastTemperature keeps logits up to 1e18 finite when they are divided by it. Infinite ones would all be
// equally probable.
const leastTemperature = 1e-20

// Check returns a [*RangeError] for the first value out of range.
func (c *Config) Check() error {
	positive := func(v float32) bool { return v > 0 && !math.IsInf(float64(v), 1) }
	switch {
	case !positive(c.RepetitionPenalty):
		return &RangeError{"repetition_penalty", c.RepetitionPenalty, "above 0"}
	case c.NoRepeatNGram < 0:
		return &RangeError{"no_repeat_ngram_size", c.NoRepeatNGram, "0 or more"}
	case c.MinNewTokens < 0:
		return &RangeError{"min_new_tokens", c.MinNewTokens, "0 or more"}
	case !(c.FrequencyPenalty >= -2 && c.FrequencyPenalty <= 2):
		return &RangeError{"frequency_penalty", c.FrequencyPenalty, "in -2 … 2"}
	case !(c.PresencePenalty >= -2 && c.PresencePenalty <= 2):
		return &RangeError{"presence_penalty", c.PresencePenalty, "in -2 … 2"}
	case slices.ContainsFunc(c.BadWords,
		func(word []int32) bool { return len(word) == 0 || slices.Min(word) < 0 }):
		return &RangeError{"bad_words_ids", c.BadWords, "lists of token ids"}
	case c.MinLength < 0:
		return &RangeError{"min_length", c.MinLength, "0 or more"}
	case !positive(c.Temperature) || c.Temperature < leastTemperature:
		return &RangeError{"temperature", c.Temperature, "above 0 (1e-20 or more)"}
	case c.TopK < 0:
		return &RangeError{"top_k", c.TopK, "0 or more"}
	case !(c.TopP >= 0 && c.TopP <= 1):
		return &RangeError{"top_p", c.TopP, "in 0 … 1"}
	case !(c.MinP >= 0 && c.MinP <= 1):
		return &RangeError{"min_p", c.MinP, "in 0 … 1"}
	case !(c.TypicalP > 0 && c.TypicalP <= 1):
		return &RangeError{"typical_p", c.TypicalP, "above 0 and up to 1"}
	}
	return c.checkBias()
}

// checkBias looks at the ids in ascending order, so that the error does not depend on the map's order.
func (c *Config) checkBias() error {
	for _, id := range slices.Sorted(maps.Keys(c.LogitBias)) {
		if bias := c.LogitBias[id]; !(bias >= -100 && bias <= 100) {
			return &RangeError{fmt.Sprintf("logit_bias of %d", id), bias, "in -100 … 100"}
		}
	}
	return nil
}

// Neutral reports whether a sampler would only take the most probable token. Then a device can choose without
// a sampler.
func (c *Config) Neutral() bool {
	return !c.DoSample && c.RepetitionPenalty == 1 && c.NoRepeatNGram == 0 && c.MinNewTokens == 0 &&
		c.FrequencyPenalty == 0 && c.PresencePenalty == 0 && len(c.LogitBias) == 0 && c.MinLength == 0 &&
		len(c.BadWords)+len(c.ForcedEOS)+len(c.Suppress)+len(c.SuppressFirst) == 0 && c.ForcedBOS == nil
}

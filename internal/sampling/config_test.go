package sampling

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	c := Defaults()
	require.NoError(t, c.Check())
	require.True(t, c.Neutral())
	require.NoError(t, json.Unmarshal([]byte(`{"do_sample": true, "temperature": 0.8, "top_p": null,
		"top_k": 20, "eos_token_id": [1, 2], "min_p": 0.1,
		"frequency_penalty": 1, "presence_penalty": 1, "logit_bias": {"1": 5}}`), &c))
	want := Config{RepetitionPenalty: 1, Temperature: 0.8, TopK: 20, TopP: 1, MinP: 0.1, TypicalP: 1}
	require.Equal(t, want, c)

	for want, change := range map[string]func(*Config){
		"temperature is 0, not above 0 (1e-20 or more)":  func(c *Config) { c.Temperature = 0 },
		"temperature is -1, not above 0 (1e-20 or more)": func(c *Config) { c.Temperature = -1 },
		"top_k is -1, not 0 or more":                     func(c *Config) { c.TopK = -1 },
		"top_p is 1.5, not in 0 … 1":                     func(c *Config) { c.TopP = 1.5 },
		"min_p is -0.1, not in 0 … 1":                    func(c *Config) { c.MinP = -0.1 },
		"typical_p is 0, not above 0 and up to 1":        func(c *Config) { c.TypicalP = 0 },
		"repetition_penalty is 0, not above 0":           func(c *Config) { c.RepetitionPenalty = 0 },
		"no_repeat_ngram_size is -2, not 0 or more":      func(c *Config) { c.NoRepeatNGram = -2 },
		"min_new_tokens is -2, not 0 or more":            func(c *Config) { c.MinNewTokens = -2 },
		"frequency_penalty is 2.5, not in -2 … 2":        func(c *Config) { c.FrequencyPenalty = 2.5 },
		"presence_penalty is -3, not in -2 … 2":          func(c *Config) { c.PresencePenalty = -3 },
		"logit_bias of 4 is -101, not in -100 … 100": func(c *Config) {
			c.LogitBias = map[int32]float32{9: 200, 5: -300, 4: -101, 3: 100, 6: 101}
		},
	} {
		c := Defaults()
		change(&c)
		require.EqualError(t, c.Check(), want)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Temperature = float32(math.NaN()) },
		func(c *Config) { c.Temperature = float32(math.Inf(1)) },
		func(c *Config) { c.Temperature = 1e-21 },
		func(c *Config) { c.RepetitionPenalty = float32(math.Inf(1)) },
		func(c *Config) { c.TopP = math.NaN() },
		func(c *Config) { c.MinP = math.NaN() },
		func(c *Config) { c.TypicalP = math.NaN() },
		func(c *Config) { c.FrequencyPenalty = float32(math.NaN()) },
		func(c *Config) { c.PresencePenalty = float32(math.NaN()) },
		func(c *Config) { c.LogitBias = map[int32]float32{1: float32(math.NaN())} },
	} {
		c := Defaults()
		change(&c)
		require.ErrorAs(t, c.Check(), new(*RangeError))
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.DoSample = true },
		func(c *Config) { c.RepetitionPenalty = 1.1 },
		func(c *Config) { c.NoRepeatNGram = 3 },
		func(c *Config) { c.MinNewTokens = 1 },
		func(c *Config) { c.FrequencyPenalty = 0.1 },
		func(c *Config) { c.PresencePenalty = -0.1 },
		func(c *Config) { c.LogitBias = map[int32]float32{1: 1} },
	} {
		c := Defaults()
		change(&c)
		require.False(t, c.Neutral())
	}
}

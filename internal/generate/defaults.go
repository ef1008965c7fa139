package generate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/strictjson"
)

// Defaults is what a checkpoint's generation_config.json says about generating text.
type Defaults struct {
	Sampling     sampling.Config
	MaxNewTokens int      // max_new_tokens; 0: not given
	Stops        []string // stop_strings
	Draws        bool     // do_sample
	GivesTopK    bool     // top_k is given; if not, Sampling has 50, as in transformers
	Ignored      []string // keys that would change a text in transformers and that phi3 does not follow
}

// These keys change texts in transformers 4.57, and phi3 does not support them. The value beside each key is
// the one that changes nothing, as null does. The keys of ignoredDraws have an effect only on random draws.
var (
	ignored = map[string]string{
		"constraints": "[]", "dola_layers": "[]", "encoder_no_repeat_ngram_size": "0",
		"encoder_repetition_penalty": "1", "exponential_decay_length_penalty": "[]", "force_words_ids": "[]",
		"forced_decoder_ids": "[]", "guidance_scale": "1", "max_length": "20", "max_time": "0",
		"num_beam_groups": "1", "num_beams": "1", "num_return_sequences": "1", "penalty_alpha": "0",
		"sequence_bias": "[]", "token_healing": "false", "watermarking_config": "{}",
	}
	ignoredDraws = map[string]string{"epsilon_cutoff": "0", "eta_cutoff": "0", "top_h": "0"}
)

// ReadDefaults reads the file, if the checkpoint has one. If draw is false, it ignores the settings for
// random draws.
func ReadDefaults(checkpoint fs.FS, draw bool) (*Defaults, error) {
	d := &Defaults{Sampling: sampling.Defaults()}
	data, err := strictjson.ReadFile(checkpoint, "generation_config.json", model.MaxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err == nil {
		err = d.parse(data, draw)
	}
	if err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	return d, nil
}

func (d *Defaults) parse(data []byte, draw bool) (err error) {
	var file struct {
		MaxNewTokens int             `json:"max_new_tokens"`
		StopStrings  json.RawMessage `json:"stop_strings"`
		DoSample     *bool           `json:"do_sample"`
	}
	var values map[string]json.RawMessage
	s := &d.Sampling
	for _, into := range []any{s, &file, &values} {
		if err = strictjson.Unmarshal(data, into); err != nil {
			return err
		}
	}
	if !draw { // a mistake in these does not matter
		neutral := sampling.Defaults()
		s.Temperature, s.TopK, s.TopP = neutral.Temperature, neutral.TopK, neutral.TopP
		s.MinP, s.TypicalP = neutral.MinP, neutral.TypicalP
	}
	given := values["top_k"]
	d.GivesTopK = given != nil && string(given) != "null"
	if value := string(values["min_new_tokens"]); value != "" && value != "null" {
		s.MinLength = 0 // where both are given, transformers takes min_new_tokens
	}
	if err = s.Check(); err != nil {
		return err
	}
	if file.MaxNewTokens < 0 {
		return &sampling.RangeError{Field: "max_new_tokens", Value: file.MaxNewTokens, Range: "0 or more"}
	}
	if d.Stops, err = stopStrings(file.StopStrings); err != nil {
		return err
	}
	d.MaxNewTokens, d.Draws = file.MaxNewTokens, file.DoSample != nil && *file.DoSample
	d.Ignored = d.ignored(values, draw)
	return nil
}

// ignored are the keys of the file that would change a text in transformers.
func (d *Defaults) ignored(values map[string]json.RawMessage, draw bool) (keys []string) {
	neutral := maps.Clone(ignored)
	if d.MaxNewTokens > 0 {
		delete(neutral, "max_length") // where both are given, transformers takes max_new_tokens
	}
	if draw {
		maps.Copy(neutral, ignoredDraws)
	}
	for key, nothing := range neutral {
		value := strings.TrimSuffix(string(values[key]), ".0")
		if value != "" && value != "null" && value != nothing {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// stopStrings reads a text or a list of texts.
func stopStrings(value json.RawMessage) (stops []string, err error) {
	var one *string
	if value == nil || json.Unmarshal(value, &one) == nil {
		if one != nil {
			stops = []string{*one}
		}
	} else if json.Unmarshal(value, &stops) != nil {
		return nil, errors.New("stop_strings is neither a string nor a list of strings")
	}
	if slices.Contains(stops, "") {
		return nil, errors.New("stop_strings has an empty string")
	}
	return stops, nil
}

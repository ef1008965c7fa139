package cli

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

// generationConfig is what a checkpoint's generation_config.json says about generating, as far as phi3 does
// it.
type generationConfig struct {
	sampling.Config
	maxNew int      // max_new_tokens; 0: not given
	stops  []string // stop_strings
	undone []string // keys that ask for what phi3 does not do
	draws  bool     // do_sample
}

// undoneKeys are those that change texts in transformers 4.57 and are not done here, with the value that asks
// for nothing, besides null. Those that only count where tokens are drawn are in undoneDraws.
var (
	undoneKeys = map[string]string{
		"constraints": "[]", "dola_layers": "[]", "encoder_no_repeat_ngram_size": "0", "encoder_repetition_penalty": "1",
		"exponential_decay_length_penalty": "[]", "force_words_ids": "[]", "forced_decoder_ids": "[]", "guidance_scale": "1", "max_length": "20", "max_time": "0",
		"num_beam_groups": "1", "num_beams": "1", "num_return_sequences": "1", "penalty_alpha": "0", "sequence_bias": "[]", "token_healing": "false",
		"watermarking_config": "{}",
	}
	undoneDraws = map[string]string{"epsilon_cutoff": "0", "eta_cutoff": "0", "top_h": "0"}
)

// readGenerationConfig reads the file, if there is one. Without draw, what it says about drawing tokens is
// not read.
func readGenerationConfig(checkpoint fs.FS, draw bool) (*generationConfig, error) {
	g := &generationConfig{Config: sampling.Defaults()}
	data, err := strictjson.ReadFile(checkpoint, "generation_config.json", model.MaxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	var file struct {
		MaxNewTokens int             `json:"max_new_tokens"`
		StopStrings  json.RawMessage `json:"stop_strings"`
		DoSample     *bool           `json:"do_sample"` // the flags decide, but another type is a mistake
	}
	var values map[string]json.RawMessage
	for _, into := range []any{&g.Config, &file, &values} {
		if err == nil {
			err = strictjson.Unmarshal(data, into)
		}
	}
	if !draw { // a mistake in these does not matter
		d := sampling.Defaults()
		g.Temperature, g.TopK, g.TopP, g.MinP, g.TypicalP = d.Temperature, d.TopK, d.TopP, d.MinP, d.TypicalP
	}
	if value := string(values["min_new_tokens"]); value != "" && value != "null" {
		g.MinLength = 0 // as in transformers, which takes min_new_tokens where both are given
	}
	if err == nil {
		err = g.Check()
	}
	if err == nil && file.MaxNewTokens < 0 {
		err = &sampling.RangeError{Field: "max_new_tokens", Value: file.MaxNewTokens, Range: "0 or more"}
	}
	if err == nil {
		g.stops, err = stopStrings(file.StopStrings)
	}
	if err != nil {
		return nil, fmt.Errorf("generation_config.json: %w", err)
	}
	g.maxNew, g.draws = file.MaxNewTokens, file.DoSample != nil && *file.DoSample
	undone := maps.Clone(undoneKeys)
	if g.maxNew > 0 {
		delete(undone, "max_length") // transformers takes max_new_tokens then
	}
	if draw {
		maps.Copy(undone, undoneDraws)
	}
	for key, neutral := range undone {
		value := strings.TrimSuffix(string(values[key]), ".0")
		if value != "" && value != "null" && value != neutral {
			g.undone = append(g.undone, key)
		}
	}
	slices.Sort(g.undone)
	return g, nil
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

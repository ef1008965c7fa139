package openai

import (
	"math"
	"reflect"
	"strconv"
)

// Endpoint is a set of endpoints.
type Endpoint int

// The endpoints that have parameters in the table.
const (
	Chat       Endpoint = 1 << iota // POST /v1/chat/completions
	Completion                      // POST /v1/completions
	both       = Chat | Completion
)

// Handling says what becomes of a parameter.
type Handling string

// The ways to handle a parameter.
const (
	Honoured Handling = "honoured" // it does what the protocol says
	Accepted Handling = "accepted" // it changes nothing of the answer
	Refused  Handling = "refused"  // an error, unless the value asks for nothing
)

// Parameter is a parameter of a request. null is the same as leaving it out.
type Parameter struct {
	Name     string
	Endpoint Endpoint
	Kind     string // of the value, such as number
	Handling Handling
	read     func(r *request, v value) error
}

// Parameters returns all parameters that the package knows. Any other is an error. docs/protocol.md lists
// them.
func Parameters() []Parameter { return parameters[:] }

var parameters = [...]Parameter{
	{"model", both, "string", Honoured, func(r *request, v value) error { return v.into(&r.model) }},
	{"messages", Chat, "array", Honoured, func(r *request, v value) error {
		r.messages = v
		return nil
	}},
	{"prompt", Completion, "string or array", Honoured, func(r *request, v value) error {
		r.prompt = v
		return nil
	}},
	{"suffix", Completion, "string", Refused, only("this model cannot fill in the middle of a text", "")},
	{"echo", Completion, "boolean", Honoured, func(r *request, v value) error { return v.into(&r.echo) }},

	// how long
	{"max_tokens", both, "integer", Honoured, readMaxTokens},
	{"max_completion_tokens", Chat, "integer", Honoured, readMaxTokens},
	{"min_tokens", both, "integer", Honoured, func(r *request, v value) (err error) {
		r.config.MinNewTokens, err = v.integer(0, math.MaxInt32)
		r.config.MinLength = 0 // a checkpoint's; this takes its place
		return err
	}},
	{"stop", both, "string or array", Honoured, readStop},
	{"ignore_eos", both, "boolean", Honoured, func(r *request, v value) error {
		return v.into(&r.ignoreEOS)
	}},

	// which tokens
	number("temperature", 0, math.MaxFloat32, (*request).setTemperature),
	number("top_p", 0, 1, func(r *request, x float64) { r.config.TopP = x }),
	{"top_k", both, "integer", Honoured, func(r *request, v value) error {
		k, err := v.integer(-1, math.MaxInt32)
		r.config.TopK = max(0, k) // vLLM and llama-server also write "all" as -1
		return err
	}},
	number("min_p", 0, 1, func(r *request, x float64) { r.config.MinP = x }),
	number("typical_p", 0, 1, func(r *request, x float64) { r.config.TypicalP = x }),
	number("frequency_penalty", -2, 2, func(r *request, x float64) {
		r.config.FrequencyPenalty = float32(x)
	}),
	number("presence_penalty", -2, 2, func(r *request, x float64) {
		r.config.PresencePenalty = float32(x)
	}),
	number("repetition_penalty", 0, math.MaxFloat32, func(r *request, x float64) {
		r.config.RepetitionPenalty = float32(x)
	}),
	{"no_repeat_ngram_size", both, "integer", Honoured, func(r *request, v value) (err error) {
		r.config.NoRepeatNGram, err = v.integer(0, math.MaxInt32)
		return err
	}},
	{"logit_bias", both, "object", Honoured, readLogitBias},
	{"seed", both, "integer", Honoured, readSeed},

	// what the response has
	{"n", both, "integer", Honoured, func(r *request, v value) (err error) {
		r.n, err = v.integer(1, maxChoices)
		return err
	}},
	{"best_of", Completion, "integer", Refused, func(r *request, v value) (err error) {
		r.bestOf, err = v.integer(1, maxChoices)
		return err
	}},
	{"logprobs", both, "boolean; integer in completions", Honoured, readLogProbs},
	{"top_logprobs", Chat, "integer", Honoured, func(r *request, v value) (err error) {
		r.top, err = v.integer(0, maxTop)
		return err
	}},
	{"stream", both, "boolean", Honoured, func(r *request, v value) error { return v.into(&r.stream) }},
	{"stream_options", both, "object", Honoured, readStreamOptions},

	// what changes nothing of an answer
	{"user", both, "string", Accepted, is[string]},
	{"safety_identifier", Chat, "string", Accepted, is[string]},
	{"metadata", Chat, "object", Accepted, isObject},
	{"prompt_cache_key", Chat, "string", Accepted, is[string]},
	{"prompt_cache_retention", Chat, "string", Accepted, is[string]},
	{"prompt_cache_options", Chat, "object", Accepted, isObject},
	{"parallel_tool_calls", Chat, "boolean", Accepted, is[bool]},
	{"service_tier", Chat, "string", Accepted, func(r *request, v value) error {
		r.serviceTier = "default"
		return only("this server has one tier; use auto", "auto", "default")(r, v)
	}},

	// what this server cannot do, and the values that do not ask for it
	{"store", Chat, "boolean", Refused, only("this server stores no answers", false)},
	{"tools", Chat, "array", Refused, only("this server does not call tools yet", []any{})},
	{"tool_choice", Chat, "string or object", Refused, only("this server does not call tools yet", "none")},
	{"functions", Chat, "array", Refused, only("this server does not call functions", []any{})},
	{"function_call", Chat, "string or object", Refused, only("this server does not call functions", "none")},
	{"response_format", Chat, "object", Refused, only("this server writes only text yet, and cannot make "+
		`sure that it is JSON; use {"type": "text"}`, map[string]any{"type": "text"})},
	{"modalities", Chat, "array", Refused, only("this server writes only text", []any{"text"})},
	{"audio", Chat, "object", Refused, only("this server writes only text")},
	{"prediction", Chat, "object", Refused, only("this server does not use predicted outputs")},
	{"reasoning_effort", Chat, "string", Refused, only("this model has no such setting")},
	{"verbosity", Chat, "string", Refused, only("this model has no such setting", "medium")},
	{"web_search_options", Chat, "object", Refused, only("this server does not search the web")},
	{"moderation", Chat, "object", Refused, only("this server does not moderate")},
}

// number is a parameter in low … high.
func number(name string, low, high float64, set func(r *request, x float64)) Parameter {
	return Parameter{name, both, "number", Honoured, func(r *request, v value) error {
		x, err := v.number(low, high)
		if err == nil {
			set(r, x)
		}
		return err
	}}
}

// is reads a parameter that changes nothing of an answer. Its value must be a T.
func is[T any](_ *request, v value) error { return v.into(new(T)) }

// isObject reads an object that changes nothing of an answer.
func isObject(_ *request, v value) error {
	_, err := v.object()
	return err
}

// only refuses every value but those that ask for nothing. why is the reason.
func only(why string, nothing ...any) func(*request, value) error {
	return func(_ *request, v value) error {
		var given any
		if len(v.raw) < 100 { // longer values ask for something, and are not worth their memory
			if err := v.into(&given); err != nil {
				return err
			}
			for _, n := range nothing {
				if reflect.DeepEqual(given, n) {
					return nil
				}
			}
		}
		return invalid(v.name, "unsupported_parameter", "%s: %s. Leave %[1]s out.", v.name, why)
	}
}

func readMaxTokens(r *request, v value) (err error) {
	if r.maxName != "" {
		return v.wrong(": %s is given too. Give one of them.", r.maxName)
	}
	r.maxName = v.name
	r.maxTokens, err = v.integer(0, math.MaxInt32)
	return err
}

// readLogitBias reads an object of numbers. Its keys are token ids.
func readLogitBias(r *request, v value) error {
	r.config.LogitBias = map[int32]float32{}
	return v.each(func(key string, member value) error {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 || strconv.FormatInt(id, 10) != key {
			return v.wrong(" has the key %q, which is not a token id.", brief(key))
		}
		if _, twice := r.config.LogitBias[int32(id)]; twice {
			return v.twice(key)
		}
		bias, err := member.number(-100, 100)
		r.config.LogitBias[int32(id)] = float32(bias)
		return err
	})
}

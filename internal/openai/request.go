package openai

import (
	crand "crypto/rand"
	"encoding/binary"
	"slices"
	"strings"

	"phi3/internal/generate"
	"phi3/internal/sampling"
)

// The most of what a request may ask for. Most are OpenAI's; that of stop texts is higher than its 4.
const (
	maxChoices   = 128
	maxTop       = 20
	maxStops     = 64
	maxStopBytes = 1024
)

// request is a request for a chat completion or a completion, as its parameters say it.
type request struct {
	where    Endpoint
	model    string
	messages value // chat
	prompt   value // completion

	config      sampling.Config
	maxTokens   int // -1: not given
	maxName     string
	n           int
	bestOf      int
	seed        uint64
	stops       []string
	ignoreEOS   bool
	stream      bool
	options     bool // stream_options were given
	usage       bool // stream_options.include_usage
	logProbs    bool
	top         int // most probable tokens beside each token; -1: not given
	echo        bool
	serviceTier string // "": not given
}

// newRequest is a request without parameters.
func newRequest(where Endpoint, d *generate.Defaults) *request {
	r := &request{where: where, config: d.Sampling, maxTokens: -1, n: 1, top: -1}
	r.config.DoSample = true
	if !d.GivesTopK {
		r.config.TopK = 0
	}
	r.stops = slices.Clone(d.Stops)
	var seed [8]byte
	_, _ = crand.Read(seed[:]) // never fails
	r.seed = binary.LittleEndian.Uint64(seed[:])
	return r
}

// parse reads the body of a request.
func parse(where Endpoint, body []byte, d *generate.Defaults) (*request, error) {
	all, err := members(body)
	if err != nil {
		return nil, err
	}
	r := newRequest(where, d)
	for i := range parameters {
		p := &parameters[i]
		v, given := all[p.Name]
		if !given || p.Endpoint&where == 0 {
			continue
		}
		delete(all, p.Name)
		if v.isNull() {
			continue
		}
		if err := p.read(r, v); err != nil {
			return nil, err
		}
	}
	if err := unrecognized(all); err != nil {
		return nil, err
	}
	return r, r.check()
}

// unrecognized returns an error if there are parameters that nobody knows. It has OpenAI's words.
func unrecognized(left map[string]value) error {
	if len(left) == 0 {
		return nil
	}
	var names []string
	for _, v := range left {
		names = append(names, v.name)
	}
	slices.Sort(names)
	plural := ""
	if len(names) > 1 {
		plural = "s"
	}
	return invalid(brief(names[0]), "unknown_parameter", "Unrecognized request argument%s supplied: %s",
		plural, brief(strings.Join(names, ", ")))
}

// check finds parameters that contradict each other.
func (r *request) check() error {
	switch {
	case r.options && !r.stream:
		return invalid("stream_options", "invalid_value", "stream_options is only for stream: true.")
	case r.where == Chat && r.top > 0 && !r.logProbs:
		return invalid("top_logprobs", "invalid_value", "top_logprobs needs logprobs: true.")
	case r.bestOf > 0 && r.bestOf != r.n:
		return invalid("best_of", "unsupported_value", "best_of is %d and n is %d. This server generates "+
			"only the texts that it returns; leave best_of out.", r.bestOf, r.n)
	case r.maxTokens == 0 && r.where == Chat:
		return invalid(r.maxName, "invalid_value", "%s is 0, not 1 or more.", r.maxName)
	case r.maxTokens == 0 && !r.echo:
		return invalid(r.maxName, "invalid_value", "%s is 0. It must be at least 1; only with echo: true, "+
			"which returns the prompt, it may be 0.", r.maxName)
	case r.maxTokens >= 0 && r.config.MinNewTokens > r.maxTokens:
		return invalid("min_tokens", "invalid_value", "min_tokens is %d, more than %s, which is %d.",
			r.config.MinNewTokens, r.maxName, r.maxTokens)
	}
	if err := r.config.Check(); err != nil {
		return AsError(err)
	}
	return nil
}

// setTemperature sets the temperature. 0, and what float32 rounds to 0, mean the most probable token.
func (r *request) setTemperature(t float64) {
	r.config.Temperature = float32(t)
	r.config.DoSample = r.config.Temperature != 0
	if !r.config.DoSample {
		r.config.Temperature = 1
	}
}

// readSeed reads a seed of 64 bits with or without a sign. -1 means a random seed, as in vLLM and
// llama-server.
func readSeed(r *request, v value) error {
	if string(v.raw) == "-1" {
		return nil
	}
	var signed int64
	if v.into(&signed) == nil {
		r.seed = uint64(signed)
		return nil
	}
	return v.into(&r.seed)
}

// readStop reads a text or a list of texts.
func readStop(r *request, v value) error {
	text, list, err := v.textOrList(maxStops)
	if err != nil {
		return err
	}
	given := []string{text}
	if list != nil {
		given = make([]string, len(list))
	}
	for i := range list {
		if !list[i].isText() {
			return invalid(list[i].name, "invalid_type", "%s is %s, not a text.", list[i].name,
				kind(string(list[i].raw)))
		}
		if err := list[i].into(&given[i]); err != nil {
			return err
		}
	}
	for _, stop := range given {
		switch {
		case stop == "":
			return v.wrong(" has an empty text, which would end every answer at once.")
		case len(stop) > maxStopBytes:
			return v.wrong(" has a text of %d bytes; this server takes up to %d.", len(stop), maxStopBytes)
		}
	}
	r.stops = append(r.stops, given...)
	return nil
}

// readStreamOptions reads {"include_usage": true}.
func readStreamOptions(r *request, v value) error {
	all, err := v.object()
	if err != nil {
		return err
	}
	r.options = true
	if err := take(all, v.name, "include_usage").into(&r.usage); err != nil {
		return err
	}
	hide := take(all, v.name, "include_obfuscation")
	if err := only("this server does not hide the lengths of chunks", nil, false)(r, hide); err != nil {
		return err
	}
	return unrecognized(all)
}

// readLogProbs reads the parameter that is true or false for a chat, and a number for a completion.
func readLogProbs(r *request, v value) (err error) {
	if r.where == Chat {
		return v.into(&r.logProbs)
	}
	r.logProbs = true
	r.top, err = v.integer(0, maxTop)
	return err
}

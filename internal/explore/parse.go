package explore

import "phi3/internal/openai"

// Limits of what a request may ask for.
const (
	maxTop     = 200 // candidates of the next token
	defaultTop = 40
	maxTargets = 16  // tokens whose logits are taken apart
	maxNew     = 256 // tokens that are generated twice
)

// The functions below read the bodies of requests. Their errors are *[openai.Error] that name the parameter.
// The ids are those of a text that the model can read: at least one, and not more than the context has.

func (e *Explorer) parseTokens(body []byte) (r TokensRequest, err error) {
	var given *string
	err = e.Fields(body, map[string]any{"text": &given, "chat": &r.Chat, "ids": &r.IDs})
	switch {
	case err != nil:
		return r, err
	case given != nil && r.IDs != nil:
		return r, openai.Invalid("ids", " is given with text. Give one of them.")
	case given == nil && r.IDs == nil:
		return r, openai.Invalid("text", " is missing. It must be a string.")
	case r.IDs != nil && r.Chat:
		return r, openai.Invalid("chat", " is only for text, not for ids.")
	case r.IDs != nil:
		return r, e.checkLength(r.IDs)
	}
	r.Text = *given
	return r, nil
}

func (e *Explorer) parseNext(body []byte) (r NextRequest, err error) {
	r.Top, r.Sampling = defaultTop, e.sampling()
	s := &r.Sampling
	err = e.Fields(body, map[string]any{
		"ids": &r.IDs, "generated": &r.Generated, "top": &r.Top, "draw": &r.Draw, "sampling": map[string]any{
			"temperature": &s.Temperature, "top_k": &s.TopK, "top_p": &s.TopP, "min_p": &s.MinP,
			"repetition_penalty": &s.RepetitionPenalty, "frequency_penalty": &s.FrequencyPenalty,
			"presence_penalty": &s.PresencePenalty,
		},
	})
	if r.Top == 0 {
		r.Top = defaultTop
	}
	return r, first(err,
		func() error { return e.checkIDs(r.IDs) },
		func() error { return inRange("generated", r.Generated, 0, len(r.IDs)) },
		func() error { return inRange("top", r.Top, 1, maxTop) },
		func() error {
			if u := r.Draw; u != nil && (*u < 0 || *u >= 1) {
				return openai.Invalid("draw", " is %v, not 0 or more and below 1.", *u)
			}
			return nil
		})
}

func (e *Explorer) parseLayers(body []byte) (r LayersRequest, err error) {
	err = e.Fields(body, map[string]any{"ids": &r.IDs, "from": &r.From})
	return r, first(err,
		func() error { return e.checkIDs(r.IDs) },
		func() error { return checkFrom(&r.From, len(r.IDs)) })
}

func (e *Explorer) parseContributions(body []byte) (r ContributionsRequest, err error) {
	err = e.Fields(body, map[string]any{"ids": &r.IDs, "tokens": &r.Tokens})
	return r, first(err,
		func() error { return e.checkIDs(r.IDs) },
		func() error {
			if n := len(r.Tokens); n == 0 || n > maxTargets {
				return openai.Invalid("tokens", " has %d ids, not 1 … %d.", n, maxTargets)
			}
			return nil
		})
}

func (e *Explorer) parseAttention(body []byte) (r AttentionRequest, err error) {
	err = e.Fields(body, map[string]any{"ids": &r.IDs, "layer": &r.Layer, "from": &r.From})
	return r, first(err,
		func() error { return e.checkIDs(r.IDs) },
		func() error { return inRange("layer", r.Layer, 1, e.Config.Layers) },
		func() error { return checkFrom(&r.From, len(r.IDs)) })
}

func (e *Explorer) parseCache(body []byte) (r CacheRequest, err error) {
	err = e.Fields(body, map[string]any{"ids": &r.IDs, "max_new_tokens": &r.MaxNewTokens})
	return r, first(err,
		func() error { return e.checkIDs(r.IDs) },
		func() error { return inRange("max_new_tokens", r.MaxNewTokens, 1, maxNew) })
}

// first returns err, or the error of the first check that fails.
func first(err error, checks ...func() error) error {
	for _, check := range checks {
		if err != nil {
			return err
		}
		err = check()
	}
	return err
}

// checkIDs refuses a text that the model cannot read.
func (e *Explorer) checkIDs(ids []int32) error {
	if len(ids) == 0 {
		return openai.Invalid("ids", " is empty. It must have at least one token id.")
	}
	return e.checkLength(ids)
}

func (e *Explorer) checkLength(ids []int32) error {
	if len(ids) > e.Context {
		return openai.Invalid("ids", " has %d tokens; the model's context has %d.", len(ids), e.Context)
	}
	return nil
}

// checkFrom checks the first position to show of a text. 0 becomes the position that shows the most.
func checkFrom(from *int, tokens int) error {
	if err := inRange("from", *from, 0, tokens-1); err != nil {
		return err
	}
	most := max(0, tokens-MaxPositions)
	if *from == 0 {
		*from = most
	}
	if *from < most {
		return openai.Invalid("from", " is %d, so %d positions follow. At most %d are shown: from must be 0 "+
			"or at least %d.", *from, tokens-*from, MaxPositions, most)
	}
	return nil
}

func inRange(param string, n, low, high int) error {
	if n < low || n > high {
		return openai.Invalid(param, " is %d, not in %d … %d.", n, low, high)
	}
	return nil
}

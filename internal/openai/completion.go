package openai

// completionShape makes the responses of POST /v1/completions.
type completionShape struct{ logProbs bool }

// completionChoice is a choice of a response, whole or a chunk.
type completionChoice struct {
	Text     string  `json:"text"`
	Index    int     `json:"index"`
	LogProbs any     `json:"logprobs"`
	Finish   *string `json:"finish_reason"`
}

func (s completionShape) object(bool) string { return "text_completion" }

func (s completionShape) logs(tokens []tokenLogProb) any {
	if !s.logProbs {
		return nil
	}
	return newCompletionLogProbs(tokens)
}

// chunks: the reason to end comes last and alone.
func (s completionShape) chunks(e *event, _ bool) (all []any) {
	if e.text != "" || len(e.tokens) > 0 {
		all = append(all, completionChoice{e.text, e.choice.index, s.logs(e.tokens), nil})
	}
	if e.finish != "" {
		all = append(all, completionChoice{"", e.choice.index, nil, &e.finish})
	}
	return all
}

func (s completionShape) whole(index int, text string, tokens []tokenLogProb, finish string) any {
	return completionChoice{text, index, s.logs(tokens), &finish}
}

package openai

// chatShape makes the responses of POST /v1/chat/completions.
type chatShape struct{ logProbs bool }

type chatChoice struct {
	Index    int         `json:"index"`
	Message  chatMessage `json:"message"`
	LogProbs any         `json:"logprobs"`
	Finish   string      `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

// chatPiece is the choice of a chunk.
type chatPiece struct {
	Index    int       `json:"index"`
	Delta    chatDelta `json:"delta"`
	LogProbs any       `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func (s chatShape) object(chunk bool) string {
	if chunk {
		return "chat.completion.chunk"
	}
	return "chat.completion"
}

func (s chatShape) logs(tokens []tokenLogProb) any {
	if !s.logProbs {
		return nil
	}
	return newChatLogProbs(tokens)
}

// chunks: the role comes first and alone, and the reason to end last and alone.
func (s chatShape) chunks(e *event, first bool) (all []any) {
	at := e.choice.index
	if first {
		all = append(all, chatPiece{Index: at, Delta: chatDelta{Role: "assistant", Content: new("")}})
	}
	if e.text != "" || len(e.tokens) > 0 {
		delta := chatDelta{Content: &e.text}
		all = append(all, chatPiece{Index: at, Delta: delta, LogProbs: s.logs(e.tokens)})
	}
	if e.finish != "" {
		all = append(all, chatPiece{Index: at, Finish: &e.finish})
	}
	return all
}

func (s chatShape) whole(index int, text string, tokens []tokenLogProb, finish string) any {
	return chatChoice{index, chatMessage{Role: "assistant", Content: text}, s.logs(tokens), finish}
}

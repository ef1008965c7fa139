// Package chat is a conversation with a model. It holds the messages, and one sequence of tokens that grows
// with them. The engine keeps the keys and values of the sequence, so a question computes only its own
// tokens.
//
// The sequence is what the model read and wrote, token by token. It is not encoded again from the messages,
// because the tokens that a model wrote need not be those that the tokenizer makes of their text. To find
// what a question adds, the package renders the chat template with the question, and takes the text after the
// part that the sequence already represents. If a template renders old turns differently from new ones, there
// is no such part. Then the whole text is encoded again, and computed from the first token that differs.
package chat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// Conversation is a system message, turns, and their tokens in the model. Only one goroutine may use it.
type Conversation struct {
	// Progress, if set, is called while a question is computed, see [engine.Request].
	Progress func(fed, of int)
	model    *model.Model
	codec    *text.Codec
	engine   *engine.Engine
	ids      []int32 // the tokens of the model's text and of the answers so far
	system   string  // "": none
	state
}

// state is what a question changes, besides the tokens of the session.
type state struct {
	turns  []tokenizer.Message // of user and assistant, alternating
	prompt string              // the template's text before the last answer
	answer string              // the last answer; the ids stand for prompt+answer
	asked  int                 // number of tokens of prompt
}

// New starts an empty conversation. It returns an error if the checkpoint has no chat template that works.
func New(ctx context.Context, m *model.Model, c *text.Codec) (*Conversation, error) {
	hello := []tokenizer.Message{{Role: "user", Content: "Hello"}}
	if _, err := c.Tokenizer.ApplyChatTemplate(ctx, hello, true); err != nil {
		return nil, err
	}
	return &Conversation{model: m, codec: c, engine: engine.New(m, engine.Options{})}, nil
}

// Close ends the engine.
func (c *Conversation) Close() { c.engine.Close() }

// Tokens returns the number of tokens that the conversation takes in the context. It returns 0 if the
// conversation is encoded again with the next question.
func (c *Conversation) Tokens() int { return len(c.ids) }

// System returns the system message, or "" if there is none.
func (c *Conversation) System() string { return c.system }

// Messages returns all messages, as the chat template sees them.
func (c *Conversation) Messages() []tokenizer.Message {
	var messages []tokenizer.Message
	if c.system != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: c.system})
	}
	return append(messages, c.turns...)
}

// SetSystem changes the system message; "" removes it. The turns stay and are encoded again with the next
// question.
func (c *Conversation) SetSystem(text string) {
	c.system = text
	c.restart(c.turns)
}

// Clear forgets all turns. The system message stays.
func (c *Conversation) Clear() { c.restart(nil) }

// Questions returns the number of questions that were asked and answered.
func (c *Conversation) Questions() int { return len(c.turns) / 2 }

// Forget drops the n oldest questions, 1 ≤ n ≤ Questions(), and their answers. The rest is encoded again with
// the next question.
func (c *Conversation) Forget(n int) { c.restart(slices.Clone(c.turns[2*n:])) }

// Frees returns the number of tokens by which the conversation becomes shorter if the n oldest questions are
// forgotten.
func (c *Conversation) Frees(ctx context.Context, n int) (int, error) {
	all, err := c.count(ctx, c.Messages())
	if err != nil {
		return 0, err
	}
	first := len(c.Messages()) - len(c.turns) // the system message stays
	left, err := c.count(ctx, slices.Delete(c.Messages(), first, first+2*n))
	return all - left, err
}

// count is the number of tokens of messages.
func (c *Conversation) count(ctx context.Context, messages []tokenizer.Message) (int, error) {
	prompt, err := c.codec.Chat(ctx, messages)
	if err != nil {
		return 0, err
	}
	ids, err := c.codec.Encode(ctx, prompt, 0)
	return len(ids), err
}

// Load replaces all messages: a system message, if there is one, and then questions and answers in turn. The
// last is an answer.
func (c *Conversation) Load(messages []tokenizer.Message) error {
	system := ""
	if len(messages) > 0 && messages[0].Role == "system" {
		system, messages = messages[0].Content, messages[1:]
	}
	for i, m := range messages {
		if want := []string{"user", "assistant"}[i%2]; m.Role != want {
			return fmt.Errorf("turn %d is the %s's, not the %s's", i+1, m.Role, want)
		}
	}
	if len(messages)%2 != 0 {
		return errors.New("the last turn is not the assistant's")
	}
	c.system = system
	c.restart(messages)
	return nil
}

// restart leaves turns to be encoded with the next question.
func (c *Conversation) restart(turns []tokenizer.Message) {
	c.state = state{turns: turns}
	c.ids = nil
}

// Piece is one token of an answer, with the text that it completes.
type Piece struct {
	engine.Token
	Text string // whole characters; "" while one is incomplete, and for a token that is not shown
}

// Options say how [Conversation.Ask] answers.
type Options struct {
	MaxNewTokens int
	Sampler      engine.Sampler // nil: the most probable token
}

// ErrNothingAsked says that there is no question to answer again.
var ErrNothingAsked = errors.New("nothing has been asked yet")

// Ask adds a user's message and yields the model's answer, which ends with one of the model's stop ids or as
// o says.
//
// If an answer ends early, because of an error or because the caller stops the loop, the part that was
// generated stays in the conversation. The Piece that is yielded with the error has the text that was still
// held back. If an error comes before the first token, the conversation is as if the question had not been
// asked. One such error is [*model.TooLongError], if the question does not fit in the context.
func (c *Conversation) Ask(
	ctx context.Context, question string, o Options,
) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		saved := c.save()
		c.turns = append(slices.Clip(c.turns), tokenizer.Message{Role: "user", Content: question})
		c.respond(ctx, o, saved, yield)
	}
}

// Again removes the answer to the last question and yields another one. Otherwise it works like Ask.
func (c *Conversation) Again(ctx context.Context, o Options) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		if len(c.turns) == 0 {
			yield(Piece{}, ErrNothingAsked)
			return
		}
		saved := c.save()
		c.turns = c.turns[:len(c.turns)-1]
		if len(c.ids) > 0 {
			c.ids = c.ids[:c.asked]
			c.answer = ""
		}
		c.respond(ctx, o, saved, yield)
	}
}

// respond answers the last of c.turns, or goes back to what was saved.
func (c *Conversation) respond(
	ctx context.Context, o Options, saved saved, yield func(Piece, error) bool,
) {
	answer, answered, err := c.speak(ctx, o, yield)
	last := Piece{}
	switch {
	case err != nil && !answered:
		c.restore(saved)
	default:
		last.Text = answer.End()
		c.answer = answer.Text()
		c.turns = append(slices.Clip(c.turns), tokenizer.Message{Role: "assistant", Content: c.answer})
	}
	if err != nil {
		yield(last, err)
	}
}

// speak generates the tokens of an answer. answered is whether there are any.
func (c *Conversation) speak(
	ctx context.Context, o Options, yield func(Piece, error) bool,
) (answer *text.Answer, answered bool, err error) {
	if err := c.encode(ctx); err != nil {
		return nil, false, err
	}
	c.asked = len(c.ids)
	answer = c.codec.Answer(c.ids, nil)
	answer.Trim = true
	request := engine.Request{
		IDs: c.ids, MaxNewTokens: o.MaxNewTokens, Stop: c.model.Config.EOS, Sampler: o.Sampler,
		Progress: c.Progress,
	}
	for token, err := range c.engine.Generate(ctx, request) {
		if err != nil {
			return answer, answered, err
		}
		answered = true
		c.ids = append(c.ids, token.ID)
		piece := Piece{token, answer.Push(token.ID)}
		if token.Finish != "" {
			piece.Text += answer.End()
		}
		if token.Finish == engine.FinishStop {
			c.ids = c.ids[:len(c.ids)-1] // the template writes the end of a turn itself
		}
		if !yield(piece, nil) {
			break
		}
	}
	return answer, answered, nil
}

// saved is a conversation as it was before a question.
type saved struct {
	state
	ids []int32
}

func (c *Conversation) save() saved { return saved{c.state, slices.Clone(c.ids)} }

func (c *Conversation) restore(s saved) { c.state, c.ids = s.state, s.ids }

// encode makes the ids those of all turns, up to the place where the model answers.
func (c *Conversation) encode(ctx context.Context) error {
	prompt, err := c.codec.Chat(ctx, c.Messages())
	if err != nil {
		return err
	}
	known := c.prompt + c.answer
	c.prompt = prompt.String()
	limit := 2 * c.model.Context // up to there an error names the number of tokens
	if rest, ok := strings.CutPrefix(c.prompt, known); ok && len(c.ids) > 0 {
		ids, err := c.codec.Encode(ctx, prompt.After(len(known)), limit)
		if err != nil {
			return err
		}
		// A text can be encoded in two parts if the second one begins with a special token.
		if rest == "" || c.codec.Tokenizer.IsSpecial(ids[0]) {
			c.ids = append(c.ids, ids...)
			return nil
		}
	}
	c.ids, err = c.codec.Encode(ctx, prompt, limit)
	return err
}

// Package chat is a conversation with a model: messages on one side, and on the other one sequence of
// tokens that grows with them, whose keys and values stay in the KV cache. Asking again computes the new
// turn alone.
//
// The sequence is what the model saw and said, token by token. It is not encoded anew from the messages,
// because the tokens of a text that a model wrote need not be those that a tokenizer makes of it. What a
// question adds is found by rendering the chat template with it: the part after the text that the sequence
// stands for already. A template that renders old turns otherwise than new ones leaves no such part; then
// everything is encoded, and computed from the first token that differs.
package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

// Conversation is a system message, turns, and their place in the model. It serves one goroutine at a time.
type Conversation struct {
	model     *model.Model
	tokenizer *tokenizer.Tokenizer
	session   *generate.Session
	// Progress, if set, is told how much of a computation is done, see [generate.Session].
	Progress func(fed, of int)
	system   string // "": none
	literal  bool
	state
}

// state is what a question changes, besides the tokens of the session.
type state struct {
	turns  []tokenizer.Message // of user and assistant, by turns
	prompt string              // the template's text before the last answer
	answer string              // the last answer; the session's tokens stand for prompt+answer
	asked  int                 // tokens of prompt
}

// New starts an empty conversation. Its error says that the checkpoint has no chat template that works.
func New(ctx context.Context, m *model.Model, t *tokenizer.Tokenizer) (*Conversation, error) {
	if _, err := t.ApplyChatTemplate(ctx, []tokenizer.Message{{Role: "user", Content: "Hello"}},
		true); err != nil {
		return nil, err
	}
	return &Conversation{model: m, tokenizer: t, session: generate.NewSession(m, false)}, nil
}

// Close gives the KV cache's blocks back.
func (c *Conversation) Close() { c.session.Close() }

// Tokens is how many tokens of the context the conversation takes so far; 0 when it will be encoded with
// the next question.
func (c *Conversation) Tokens() int { return c.session.Len() }

// System is the system message, "" if there is none.
func (c *Conversation) System() string { return c.system }

// Messages are all messages, as the chat template sees them.
func (c *Conversation) Messages() []tokenizer.Message {
	var messages []tokenizer.Message
	if c.system != "" {
		messages = append(messages, tokenizer.Message{Role: "system", Content: c.system})
	}
	return append(messages, c.turns...)
}

// SetSystem changes the system message; "" takes it away. The turns stay, and are computed again with the
// next question.
func (c *Conversation) SetSystem(text string) {
	c.system = text
	c.restart(c.turns)
}

// Clear forgets all turns. The system message stays.
func (c *Conversation) Clear() { c.restart(nil) }

// Questions is how many questions were asked and answered.
func (c *Conversation) Questions() int { return len(c.turns) / 2 }

// Forget drops the n oldest questions, from 1 to Questions(), and their answers. What is left is encoded
// and computed again with the next question, as if nothing else had been said.
func (c *Conversation) Forget(n int) { c.restart(slices.Clone(c.turns[2*n:])) }

// Frees is how many tokens the conversation becomes shorter by if the n oldest questions are forgotten.
func (c *Conversation) Frees(ctx context.Context, n int) (int, error) {
	all, err := c.count(ctx, c.Messages())
	if err != nil {
		return 0, err
	}
	first := len(c.Messages()) - len(c.turns) // the system message stays
	left, err := c.count(ctx, slices.Delete(c.Messages(), first, first+2*n))
	return all - left, err
}

// SetLiteral has special tokens in the messages read as ordinary characters; the template's own count. It is
// for a conversation that has not begun.
func (c *Conversation) SetLiteral() { c.literal = true }

// render applies the chat template.
func (c *Conversation) render(ctx context.Context, messages []tokenizer.Message) ([]tokenizer.Part, error) {
	return tokenizer.ChatParts(messages, c.literal, func(messages []tokenizer.Message) (string, error) {
		return c.tokenizer.ApplyChatTemplate(ctx, messages, true)
	})
}

// count is the number of tokens of messages.
func (c *Conversation) count(ctx context.Context, messages []tokenizer.Message) (int, error) {
	parts, err := c.render(ctx, messages)
	if err != nil {
		return 0, err
	}
	ids, err := c.tokenizer.EncodeParts(ctx, parts, tokenizer.EncodeOptions{NoBOS: true})
	return len(ids), err
}

// Load replaces all messages: the system's first, if there is one, and then user and assistant by turns, up
// to an answer.
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

// restart leaves turns to be encoded and computed with the next question.
func (c *Conversation) restart(turns []tokenizer.Message) {
	c.state = state{turns: turns}
	c.session.Truncate(0)
}

// Answer is what a model said.
type Answer struct {
	generate.Result
	Text   string
	Prompt int // tokens before the answer, Result.Cached of them not computed again
}

// ErrNothingAsked says that there is no question to answer again.
var ErrNothingAsked = errors.New("nothing has been asked yet")

// Ask adds a user's message and has the model answer. show gets the answer as it is made, in pieces of
// whole characters. The answer ends at the model's stop ids; o says everything else.
//
// An answer that is interrupted stays as far as it came. If it had not begun, or did not fit the context
// ([*model.TooLongError]), the conversation is as if nothing had been asked.
func (c *Conversation) Ask(
	ctx context.Context, question string, o generate.Options, show func(piece string) error,
) (Answer, error) {
	saved, ids := c.state, slices.Clone(c.session.IDs())
	c.turns = append(slices.Clip(c.turns), tokenizer.Message{Role: "user", Content: question})
	return c.respond(ctx, o, show, saved, ids)
}

// Again has the model answer the last question once more, in place of the answer it gave. Otherwise it is
// like Ask.
func (c *Conversation) Again(
	ctx context.Context, o generate.Options, show func(piece string) error,
) (Answer, error) {
	if len(c.turns) == 0 {
		return Answer{}, ErrNothingAsked
	}
	saved, ids := c.state, slices.Clone(c.session.IDs())
	c.turns = c.turns[:len(c.turns)-1]
	if len(ids) > 0 {
		c.session.Truncate(c.asked)
		c.answer = ""
	}
	return c.respond(ctx, o, show, saved, ids)
}

// respond answers the last of c.turns, or goes back to what was saved.
func (c *Conversation) respond(
	ctx context.Context, o generate.Options, show func(string) error, saved state, ids []int32,
) (Answer, error) {
	a, err := c.generate(ctx, o, show)
	if err != nil && len(a.IDs) == 0 {
		c.state = saved
		c.become(ids)
		return a, err
	}
	c.answer = a.Text
	c.turns = append(slices.Clip(c.turns), tokenizer.Message{Role: "assistant", Content: a.Text})
	return a, err
}

func (c *Conversation) generate(
	ctx context.Context, o generate.Options, show func(string) error,
) (a Answer, err error) {
	if err := c.encode(ctx); err != nil {
		return a, err
	}
	a.Prompt = c.session.Len()
	c.asked = a.Prompt
	stream := c.tokenizer.NewStream(c.session.IDs(), true)
	var text strings.Builder
	say := func(piece string) error {
		if piece == "" {
			return nil
		}
		text.WriteString(piece)
		return show(piece)
	}
	o.Stop = c.model.Config.EOS
	c.session.Progress = c.Progress
	a.Finish = generate.FinishLength
	for token, tokenErr := range c.session.Tokens(ctx, o) {
		if err = tokenErr; err != nil {
			break
		}
		a.Add(token)
		if err = say(stream.Push(token.ID)); err != nil {
			break
		}
	}
	if endErr := say(stream.Flush()); err == nil {
		err = endErr
	}
	a.Text = text.String()
	if n := len(a.IDs); n > 0 && slices.Contains(o.Stop, a.IDs[n-1]) {
		c.session.Truncate(c.session.Len() - 1) // the template writes the end of a turn itself
	}
	return a, err
}

// encode brings the session's tokens up to the last of the turns, and to the place where the model speaks.
func (c *Conversation) encode(ctx context.Context) error {
	parts, err := c.render(ctx, c.Messages())
	if err != nil {
		return err
	}
	text := tokenizer.JoinParts(parts)
	known := c.prompt + c.answer
	// up to there the error says how many they are
	o := tokenizer.EncodeOptions{NoBOS: true, Max: 2 * c.model.Context}
	c.prompt = text
	if rest, ok := strings.CutPrefix(text, known); ok && c.session.Len() > 0 {
		ids, err := c.tokenizer.EncodeParts(ctx, tokenizer.AfterParts(parts, len(known)), o)
		if err != nil {
			return err
		}
		// where a special token stands, a text can be encoded in two parts
		if rest == "" || c.tokenizer.IsSpecial(ids[0]) {
			c.session.Append(ids...)
			return nil
		}
	}
	ids, err := c.tokenizer.EncodeParts(ctx, parts, o)
	if err != nil {
		return err
	}
	c.become(ids)
	return nil
}

// become makes ids the session's tokens. Those at the beginning that are its tokens already stay in the
// cache.
func (c *Conversation) become(ids []int32) {
	old, same := c.session.IDs(), 0
	for same < min(len(old), len(ids)) && old[same] == ids[same] {
		same++
	}
	c.session.Truncate(same)
	c.session.Append(ids[same:]...)
}

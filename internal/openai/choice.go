package openai

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"phi3/internal/engine"
	"phi3/internal/sampling"
	"phi3/internal/text"
)

// busyPause is how long a choice waits before it tries again to get a place in the engine. It is not refused,
// because another choice of its request was admitted.
const busyPause = 20 * time.Millisecond

// choice is one text that continues a prompt.
type choice struct {
	answer  *Answer
	index   int // of all choices of the answer
	prompt  *prompt
	number  int            // of the choices for the same prompt
	after   *choice        // that must have its first token before this one begins; nil: none
	started chan struct{}  // closed at the first token, or at the end if there is none
	turn    chan struct{}  // has an element for each choice of the answer that is in the engine
	scores  []tokenLogProb // of the prompt's tokens, if they are wanted; valid after started
}

// event is what a token adds to a choice, or the end of the choice.
type event struct {
	choice *choice
	text   string
	tokens []tokenLogProb // whose text begins in the text so far, if log probabilities are wanted
	finish string         // of the last event: stop or length
	token  *engine.Token  // nil: the event is not of a token
	first  bool           // the token is the first one
	err    error
}

// choices are the choices of an answer, in order. The first one of a prompt computes the prompt, so the
// others wait for it. All wait for the first one of the answer: if the engine refuses that, it refuses the
// request. No more are in the engine than it can run at once, so that they do not fill its queue.
func (a *Answer) choices() []*choice {
	var all []*choice
	turn := make(chan struct{}, a.service.Engine.Parallel())
	for i := range a.prompts {
		first := len(all)
		for n := range a.request.n {
			c := &choice{
				answer: a, index: len(all), prompt: &a.prompts[i], number: n, started: make(chan struct{}),
				turn: turn,
			}
			switch {
			case n > 0:
				c.after = all[first]
			case i > 0:
				c.after = all[0]
			}
			all = append(all, c)
		}
	}
	return all
}

// run generates the choice. It calls send for every event until that returns false.
func (c *choice) run(ctx context.Context, send func(event) bool) {
	begun := false
	begin := func() {
		if !begun {
			begun = true
			close(c.started)
		}
	}
	defer begin()
	if c.after != nil {
		select {
		case <-c.after.started:
		case <-ctx.Done():
			return
		}
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return
	}
	r := c.answer.request
	o := output{codec: c.answer.service.Codec, logProbs: r.logProbs, every: r.where == Completion}
	o.answer = o.codec.Answer(c.prompt.ids, r.stops)
	o.answer.Trim = r.where == Chat
	for token, err := range c.tokens(ctx) {
		if err != nil {
			send(event{choice: c, err: err})
			return
		}
		e := event{choice: c, token: &token, first: !begun}
		if !begun {
			if r.echo && r.logProbs && c.number == 0 {
				c.scores = promptLogProbs(o.codec, c.prompt, token.Prompt)
			}
			if r.echo {
				c.echo(&e, &o)
			}
			begin()
		}
		if token.ID >= 0 {
			o.push(&e, &token)
		}
		if !send(e) || e.finish != "" {
			return
		}
	}
	// no token was asked for, and no log probabilities
	e := event{choice: c, finish: "length"}
	if r.echo {
		c.echo(&e, &o)
	}
	send(e)
}

// echo puts the prompt before the answer.
func (c *choice) echo(e *event, o *output) {
	e.text = c.prompt.text
	o.before = utf8.RuneCountInString(e.text)
	if c.number > 0 {
		e.tokens = c.after.scores
	} else {
		e.tokens = c.scores
	}
	if e.token != nil && e.token.ID < 0 {
		e.finish = "length"
	}
}

// tokens are the engine's tokens for the choice.
func (c *choice) tokens(ctx context.Context) func(yield func(engine.Token, error) bool) {
	a, r := c.answer, c.answer.request
	request := engine.Request{
		IDs: c.prompt.ids, MaxNewTokens: c.prompt.most, LogProbs: r.logProbs, Top: max(0, r.top),
		PromptLogProbs: r.echo && r.logProbs && c.number == 0,
	}
	if !r.ignoreEOS {
		request.Stop = a.service.Config.EOS
	}
	return func(yield func(engine.Token, error) bool) {
		for {
			config := r.config
			config.EOS, config.MaxNewTokens = a.service.Config.EOS, c.prompt.most
			if !config.Neutral() {
				request.Sampler = sampling.New(config, r.seed+uint64(c.number))
			}
			busy := false
			for token, err := range a.service.Engine.Generate(ctx, request) {
				if busy = c.index > 0 && errors.Is(err, engine.ErrBusy); busy {
					break
				}
				if !yield(token, err) || err != nil {
					return
				}
			}
			if !busy {
				return
			}
			select {
			case <-time.After(busyPause):
			case <-ctx.Done():
				yield(engine.Token{}, ctx.Err())
				return
			}
		}
	}
}

// output turns the tokens of a choice into text and log probabilities.
type output struct {
	codec    *text.Codec
	answer   *text.Answer
	logProbs bool
	every    bool           // log probabilities of stop tokens too
	before   int            // characters before the answer: those of an echoed prompt
	read     int            // bytes of answer.Text that shown counts
	shown    int            // characters of answer.Text
	held     []tokenLogProb // of tokens whose text is held back
}

// push adds a token to its event.
func (o *output) push(e *event, t *engine.Token) {
	start := o.answer.Offset()
	e.text += o.answer.Push(t.ID)
	switch {
	case o.answer.Stop() != "":
		e.finish = "stop"
	case t.Finish != "":
		e.text += o.answer.End()
		e.finish = "length"
		if t.Finish == engine.FinishStop || o.answer.Stop() != "" {
			e.finish = "stop"
		}
	}
	if !o.logProbs {
		return
	}
	// A stop token has no text in the answer, so it is not one of a message's tokens. A completion has the
	// log probability of every token that was generated, as in vLLM: lm-eval needs that to find the prompt's.
	if t.Finish != engine.FinishStop || o.every {
		o.held = append(o.held, newTokenLogProb(o.codec, t.ID, t.LogProb, t.Top, start))
	}
	all := o.answer.Text()
	o.shown += utf8.RuneCountInString(all[o.read:])
	o.read = len(all)
	n := 0
	for n < len(o.held) && (o.held[n].offset < o.shown || e.finish != "" && o.answer.Stop() == "") {
		o.held[n].offset += o.before
		n++
	}
	e.tokens = append(e.tokens, o.held[:n]...)
	o.held = o.held[n:]
}

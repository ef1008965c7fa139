package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"phi3/internal/chat"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// respond lets the model speak, until it ends or Ctrl-C is pressed.
func (t *talk) respond(
	ctx context.Context,
	ask func(ctx context.Context, o generate.Options, say func(string) error) (chat.Answer, error),
) error {
	answering, stop := context.WithCancel(ctx)
	defer stop()
	select {
	case <-t.interrupts: // of a moment when nothing was to be stopped
	default:
	}
	go func() {
		select {
		case <-t.interrupts:
			stop()
		case <-answering.Done():
		}
	}()

	o := generate.Options{MaxNewTokens: t.maxNew}
	if t.maxNew == 0 {
		o.MaxNewTokens = t.model.Context
	}
	if !t.config.Neutral() {
		o.Sampler = sampling.New(t.config, t.seed)
	}
	bar := progress.Start(t.notes(), progress.ReadingPrompt)
	defer bar.Stop()
	out := show.NewWrapper(t.out, func() int { return terminalWidth(t.out) })
	started, anew := false, false
	t.Progress = func(fed, of int) {
		switch {
		case !started:
			bar.Update(int64(fed), int64(of))
		case !anew:
			anew = true
			_, _ = show.Fprintf(t.notes(), "\n%s\n", crossingNote(t.model))
		}
	}
	a, err := ask(answering, o, func(piece string) error {
		bar.Stop()
		if !started {
			piece = strings.TrimLeft(piece, " ") // SentencePiece's word mark before the first word
			started = piece != ""
		}
		_, err := out.WriteString(piece)
		return err
	})
	bar.Stop()
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if out.Column() > 0 {
		_, _ = io.WriteString(t.out, "\n")
	}
	if len(a.IDs) > 0 {
		t.last = &a
		_, _ = show.Fprintf(t.details(), "prompt: %d tokens, %d of them cached; seed %d\n", a.Prompt,
			a.Cached, t.seed)
		t.seed++
	}

	var tooLong *model.TooLongError
	var tooMany *tokenizer.TooManyError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &tooMany):
		t.note("That makes more than %d tokens, and the context holds %d: nothing was asked%s. %s"+
			"/clear starts a new conversation.", tooMany.Max, t.model.Context, contextLimit(t.model),
			t.offer(ctx, t.Questions(), tooMany.Max-t.model.Context))
	case errors.As(err, &tooLong):
		t.note("That makes %d tokens, and the context holds %d: nothing was asked%s. %s"+
			"/clear starts a new conversation.", tooLong.Tokens, tooLong.Context, contextLimit(t.model),
			t.offer(ctx, t.Questions(), tooLong.Tokens+1-tooLong.Context))
	case errors.Is(err, context.Canceled) && len(a.IDs) == 0:
		t.note("Stopped before the answer began; the conversation is as it was.")
	case errors.Is(err, context.Canceled):
		t.note("Stopped; what was said so far stays in the conversation.")
	case errors.Is(err, sampling.ErrNothingLeft), errors.Is(err, chat.ErrNothingAsked):
		t.note("%v.", err)
	case err != nil:
		return err
	case a.Finish == generate.FinishContext:
		t.note("Stopped: the context of %d tokens is full%s. %s/clear starts a new conversation, /save "+
			"keeps this one.",
			t.model.Context, contextLimit(t.model), t.offer(ctx, t.Questions()-1, 1))
	case a.Finish == generate.FinishLength:
		t.note("Stopped after %d tokens (--max-new-tokens).", len(a.IDs))
	}
	return nil
}

// offer tells how many of the oldest questions to forget, of at most so many, for so many tokens of room,
// and how much room each gives. It is "" where that would not help.
func (t *talk) offer(ctx context.Context, most, tokens int) string {
	freed := 0
	var each []string
	for n := range most {
		frees, err := t.Frees(ctx, n+1)
		if err != nil || len(each) == 20 { // beyond, the list is no help
			return ""
		}
		each = append(each, strconv.Itoa(frees-freed))
		if freed = frees; freed < tokens {
			continue
		}
		if n == 0 {
			return show.Sprintf("/forget drops the oldest question and its answer, which frees %d tokens. ",
				freed)
		}
		return show.Sprintf("/forget %d drops the %[1]d oldest questions and their answers, which frees %d "+
			"tokens (%s). ",
			n+1, freed, strings.Join(each, " + "))
	}
	return ""
}

package talk

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"

	"phi3/internal/chat"
	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// respond prints an answer as it is made, until it ends or Ctrl-C is pressed.
func (t *Talk) respond(
	ctx context.Context,
	ask func(ctx context.Context, o chat.Options) iter.Seq2[chat.Piece, error],
) error {
	answering, stop := t.untilInterrupt(ctx)
	defer stop()
	o := chat.Options{MaxNewTokens: cmp.Or(t.MaxNewTokens, t.Model.Context)}
	if !t.Sampling.Neutral() {
		o.Sampler = sampling.New(t.Sampling, t.Seed)
	}
	reading := progress.NewReading(t.Notes, t.Model.Config.Crossing(), true)
	defer reading.Stop()
	t.Progress = reading.Update
	out := show.NewWrapper(t.Out, func() int { return show.TerminalWidth(t.Out) })
	var r engine.Result
	var err error
	for piece, failed := range ask(answering, o) {
		reading.Stop()
		if failed == nil {
			r.Add(piece.Token)
		}
		_, err = out.WriteString(piece.Text)
		if err = cmp.Or(failed, err); err != nil {
			break
		}
	}
	err = cmp.Or(err, out.Flush())
	if out.Column() > 0 {
		_, _ = io.WriteString(t.Out, "\n")
	}
	if len(r.IDs) > 0 {
		t.last = &r
		_, _ = show.Fprintf(t.Details, "prompt: %d tokens, %d of them cached; seed %d\n", r.Cached+r.Fed,
			r.Cached, t.Seed)
		t.Seed++
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return t.ended(ctx, &r, err)
}

// untilInterrupt returns a context that the next Ctrl-C ends.
func (t *Talk) untilInterrupt(ctx context.Context) (answering context.Context, stop context.CancelFunc) {
	answering, stop = context.WithCancel(ctx)
	select {
	case <-t.Interrupts: // pressed when there was nothing to stop
	default:
	}
	go func() {
		select {
		case <-t.Interrupts:
			stop()
		case <-answering.Done():
		}
	}()
	return answering, stop
}

// ended tells the person why an answer ended, if that is not its natural end. It returns errors that end the
// conversation.
func (t *Talk) ended(ctx context.Context, r *engine.Result, err error) error {
	var tooLong *model.TooLongError
	var tooMany *tokenizer.TooManyError
	switch {
	case errors.As(err, &tooMany):
		t.note("That makes more than %d tokens, and the context holds %d: nothing was asked%s. %s"+
			"/clear starts a new conversation.", tooMany.Max, t.Model.Context, t.ContextLimit,
			t.offer(ctx, t.Questions(), tooMany.Max-t.Model.Context))
	case errors.As(err, &tooLong):
		t.note("That makes %d tokens, and the context holds %d: nothing was asked%s. %s"+
			"/clear starts a new conversation.", tooLong.Tokens, tooLong.Context, t.ContextLimit,
			t.offer(ctx, t.Questions(), tooLong.Tokens+1-tooLong.Context))
	case errors.Is(err, context.Canceled) && len(r.IDs) == 0:
		t.note("Stopped before the answer began; the conversation is as it was.")
	case errors.Is(err, context.Canceled):
		t.note("Stopped; what was said so far stays in the conversation.")
	case errors.Is(err, chat.ErrNothingAsked):
		t.note("Nothing has been asked yet.")
	case errors.Is(err, sampling.ErrNothingLeft):
		t.note("%v.", err)
	case err != nil:
		return err
	case r.Finish == engine.FinishContext:
		t.note("Stopped: the context of %d tokens is full%s. %s/clear starts a new conversation, /save "+
			"keeps this one.",
			t.Model.Context, t.ContextLimit, t.offer(ctx, t.Questions()-1, 1))
	case r.Finish == engine.FinishLength:
		t.note("Stopped after %d tokens (--max-new-tokens).", len(r.IDs))
	}
	return nil
}

// offer says how many of the oldest questions to forget to free a number of tokens, and how many tokens each
// of them frees. It returns "" if that takes more than most questions, or 20.
func (t *Talk) offer(ctx context.Context, most, tokens int) string {
	freed := 0
	var each []string
	for n := range most {
		frees, err := t.Frees(ctx, n+1)
		if err != nil || len(each) == 20 { // nobody reads a longer list
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

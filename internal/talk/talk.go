// Package talk is a conversation with a model at a terminal. It reads questions and commands, and prints the
// answers as they are made.
package talk

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"phi3/internal/chat"
	"phi3/internal/engine"
	"phi3/internal/lineedit"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/text"
)

// Talk is a conversation at a terminal. All fields but the last are set before [Talk.Run].
type Talk struct {
	*chat.Conversation
	Codec        *text.Codec // of the conversation
	Model        *model.Model
	Name         string        // of the model
	Loaded       time.Duration // that loading the model took
	ContextLimit string        // what limits the context, for notes; begins with a semicolon or is ""
	MaxNewTokens int           // of an answer; 0: what the context holds
	Sampling     sampling.Config
	Seed         uint64 // of the next answer

	Editor     *lineedit.Editor
	Interrupts <-chan os.Signal // each stops the answer that is being made
	Out        *show.Writer
	Notes      io.Writer
	Details    io.Writer
	Quiet      bool // no greeting
	Style      bool // the terminal can write bold and dim

	last *engine.Result // the last answer
}

// Run reads questions and answers them. It returns nil when the user ends the conversation, and an error when
// ctx is done.
func (t *Talk) Run(ctx context.Context) error {
	if !t.Quiet {
		t.note("Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands.")
	}
	for {
		text, err := t.read(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, lineedit.ErrInterrupted):
			t.note("Ctrl-D leaves.")
			continue
		case errors.Is(err, lineedit.ErrTooLong):
			t.note("%v.", err)
			continue
		case err != nil:
			return err
		}
		err = t.message(ctx, text)
		if errors.Is(err, errLeave) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// message answers what the person typed: a command or a question.
func (t *Talk) message(ctx context.Context, text string) error {
	command, isCommand := strings.CutPrefix(text, "/")
	switch {
	case strings.TrimSpace(text) == "":
		return nil
	case isCommand && !strings.HasPrefix(command, "/"):
		return t.command(ctx, command)
	case isCommand:
		text = command // a question that begins with a slash
	}
	return t.respond(ctx, func(ctx context.Context, o chat.Options) iter.Seq2[chat.Piece, error] {
		return t.Ask(ctx, text, o)
	})
}

// quotes begin and end a message of several lines.
const quotes = `"""`

// read returns a message: one line, several that end in a backslash, or all lines between quotes.
func (t *Talk) read(ctx context.Context) (string, error) {
	text, err := t.line(ctx, ">>> ")
	rest, quoted := strings.CutPrefix(text, quotes)
	if quoted {
		for text = rest; err == nil; {
			if before, ended := strings.CutSuffix(text, quotes); ended {
				text = strings.TrimSuffix(strings.TrimPrefix(before, "\n"), "\n")
				break
			}
			rest, err = t.line(ctx, "... ")
			text += "\n" + rest
		}
	}
	for before, more := strings.CutSuffix(text, "\\"); more && !quoted &&
		err == nil; before, more = strings.CutSuffix(text, "\\") {
		rest, err = t.line(ctx, "... ")
		text = before + "\n" + rest
	}
	if err != nil {
		return "", err
	}
	if err := t.Editor.History.Add(text); err != nil {
		_, _ = show.Fprintf(t.Details, "history: %v\n", err)
	}
	return text, nil
}

func (t *Talk) line(ctx context.Context, prompt string) (string, error) {
	return t.Editor.Read(ctx, lineedit.Prompt{Text: prompt, Bold: t.Style})
}

// note tells the person something that is not the model's answer.
func (t *Talk) note(format string, args ...any) {
	text := "(" + show.Sprintf(format, args...) + ")"
	if t.Style { // dim
		text = "\x1b[2m" + text + "\x1b[0m"
	}
	_, _ = io.WriteString(t.Out.Unwrap(), text+"\n")
}

package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/chat"
	"phi3/internal/generate"
	"phi3/internal/lineedit"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

type chatFlags struct {
	model     modelFlags
	sampling  samplingFlags
	system    string
	noSpecial bool
	template  templateFlags
	maxNew    int
}

func newChat(s *streams) *cobra.Command {
	var f chatFlags
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Talk with the model",
		Long: `Talk with the model at a terminal. What was said stays in the KV cache, so that every
question costs its own tokens alone.

Ctrl-C stops an answer, Ctrl-D leaves. Several lines can be pasted, or written between
lines of """; a line that ends in a backslash goes on in the next one. /help lists the
commands. On the terminal, answers are wrapped between words.

The up key recalls what was typed, in earlier runs too. It is kept in
$XDG_STATE_HOME/phi3/history (~/.local/state/phi3/history), which only you can read;
PHI3_HISTORY names another file, and PHI3_HISTORY= keeps nothing.`,
		Example: `  phi3 chat --model ./Phi-3-mini-4k-instruct --temperature 0.7
  phi3 chat --system "Answer like a pirate."`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	f.sampling.register(flags)
	flags.StringVar(&f.system, "system", "", "system message")
	flags.BoolVar(&f.noSpecial, "no-special", false, noSpecialHelp)
	f.template.register(flags)
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 0,
		"most tokens of an answer (default: what the context holds)")
	return cmd
}

func (f *chatFlags) run(ctx context.Context, s *streams) error {
	if f.maxNew < 0 {
		return usagef("--max-new-tokens is %d, not 0 or more", f.maxNew)
	}
	if err := f.template.check(true); err != nil {
		return err
	}
	if err := f.sampling.check(); err != nil {
		return err
	}
	in, inIsFile := s.in.(*os.File)
	out, outIsFile := show.Bare(s.out).(*os.File)
	if !inIsFile || !outIsFile || !show.IsTerminal(s.out) || !show.IsTerminal(in) {
		return usagef("chat is for a person at a terminal; for a pipe or a file there is phi3 generate --chat")
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	m, err := f.model.load(ctx, s, checkpoint)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	t, err := loadTokenizer(checkpoint)
	if err != nil {
		return err
	}
	config, err := f.sampling.config(s, checkpoint.FS, m.Config.EOS)
	if err != nil {
		return err
	}
	if len(config.stops) > 0 {
		_, _ = show.Fprintln(s.notes(), "note: a chat does not look for the stop_strings of "+
			"generation_config.json")
	}
	if f.maxNew == 0 {
		f.maxNew = config.maxNew
	}
	config.MaxNewTokens = f.maxNew
	if err := f.template.apply(t); err != nil {
		return err
	}
	conversation, err := chat.New(ctx, m.Model, t)
	if err != nil {
		return err
	}
	defer conversation.Close()
	if f.noSpecial {
		conversation.SetLiteral()
	}
	if f.system != "" {
		conversation.SetSystem(f.system)
		noteSystemDropped(ctx, s.notes(), t, f.system)
	}

	// From here on, Ctrl-C stops an answer and not the program; only SIGTERM does that.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	s.takesInterrupts.Store(true)
	defer signal.Stop(interrupts)
	talking, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	history, err := lineedit.OpenHistory(historyFile())
	if err != nil {
		_, _ = show.Fprintf(s.notes(), "note: what is typed is not kept for the next run: %v\n", err)
	}
	person := &talk{
		Conversation: conversation, streams: s, model: m.Model, tokenizer: t, name: checkpoint.Name, loaded: m.took,
		editor: lineedit.New(in, out, history), interrupts: interrupts,
		maxNew: f.maxNew, config: config.Config, seed: f.sampling.firstSeed(),
		style: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	err = person.loop(talking)
	if talking.Err() != nil {
		<-ctx.Done() // the signal reaches it too, or an earlier one has
	}
	return err
}

// talk is a conversation at a terminal.
type talk struct {
	*chat.Conversation
	*streams
	model      *model.Model
	tokenizer  *tokenizer.Tokenizer
	name       string // of the model
	loaded     time.Duration
	editor     *lineedit.Editor
	interrupts chan os.Signal
	maxNew     int
	config     sampling.Config
	seed       uint64 // of the next answer
	style      bool   // the terminal may be told to write bold and dim
	last       *chat.Answer
}

// loop reads and answers until the person leaves, with nil, or the process is told to end.
func (t *talk) loop(ctx context.Context) error {
	if !t.quiet {
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
		err = nil
		command, isCommand := strings.CutPrefix(text, "/")
		switch {
		case strings.TrimSpace(text) == "":
		case isCommand && !strings.HasPrefix(command, "/"):
			err = t.command(ctx, command)
		default:
			question := text
			if isCommand {
				question = command // "//" is a slash
			}
			err = t.respond(ctx, func(ctx context.Context, o generate.Options,
				say func(string) error,
			) (chat.Answer, error) {
				return t.Ask(ctx, question, o, say)
			})
		}
		if errors.Is(err, errLeave) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// quotes begin and end a message of several lines.
const quotes = `"""`

// read returns a message: a line, those after it while they end in a backslash, or all lines between quotes.
func (t *talk) read(ctx context.Context) (string, error) {
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
	if err := t.editor.History.Add(text); err != nil {
		_, _ = show.Fprintf(t.details(), "history: %v\n", err)
	}
	return text, nil
}

func (t *talk) line(ctx context.Context, prompt string) (string, error) {
	return t.editor.Read(ctx, lineedit.Prompt{Text: prompt, Bold: t.style})
}

// note tells the person something that is not the model's answer.
func (t *talk) note(format string, args ...any) {
	text := "(" + show.Sprintf(format, args...) + ")"
	if t.style { // dim
		text = "\x1b[2m" + text + "\x1b[0m"
	}
	_, _ = io.WriteString(t.out.Unwrap(), text+"\n")
}

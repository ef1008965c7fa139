package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/chat"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/tokenizer"
)

type chatFlags struct {
	model    modelFlags
	sampling samplingFlags
	system   string
	maxNew   int
}

func newChat(s *streams) *cobra.Command {
	var f chatFlags
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Talk with the model",
		Long: `Talk with the model at a terminal. What was said stays in the KV cache, so that every
question costs its own tokens alone.

Ctrl-C stops an answer, Ctrl-D leaves. Several lines can be pasted; a line that ends in
a backslash goes on in the next one. /help lists the commands.`,
		Example: `  phi3 chat --model ./Phi-3-mini-4k-instruct --temperature 0.7
  phi3 chat --system "Answer like a pirate."`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	f.sampling.register(flags)
	flags.StringVar(&f.system, "system", "", "system message")
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 0, "most tokens of an answer (default: what the context holds)")
	return cmd
}

func (f *chatFlags) run(ctx context.Context, s *streams) error {
	defer f.model.close()
	if f.maxNew < 0 {
		return usagef("--max-new-tokens is %d", f.maxNew)
	}
	if err := f.sampling.check(); err != nil {
		return err
	}
	in, inIsFile := s.in.(*os.File)
	out, outIsFile := bare(s.out).(*os.File)
	if !inIsFile || !outIsFile || !isTerminal(s.out) || !isTerminal(in) {
		return usagef("chat is for a person at a terminal; for a pipe or a file there is phi3 generate --chat")
	}
	m, name, took, err := f.model.load(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	t, err := f.model.tokenizer()
	if err != nil {
		return err
	}
	_, checkpoint, err := f.model.checkpoint()
	if err != nil {
		return err
	}
	config, err := f.sampling.config(s, checkpoint, m.Config.EOS)
	if err != nil {
		return err
	}
	if len(config.stops) > 0 {
		_, _ = show.Fprintln(s.notes(), "note: a chat does not look for the stop_strings of generation_config.json")
	}
	if f.maxNew == 0 {
		f.maxNew = config.maxNew
	}
	config.MaxNewTokens = f.maxNew
	conversation, err := chat.New(m, t)
	if err != nil {
		return err
	}
	defer conversation.Close()
	if f.system != "" {
		conversation.SetSystem(f.system)
	}

	// From here on, Ctrl-C stops an answer and not the program; only SIGTERM does that.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	s.takesInterrupts.Store(true)
	defer signal.Stop(interrupts)
	talking, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	person := &talk{
		Conversation: conversation, streams: s, model: m, name: name, loaded: took, editor: newLineEditor(in, out), interrupts: interrupts,
		maxNew: f.maxNew, config: config.Config, seed: f.sampling.firstSeed(), style: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
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
	name       string // of the model
	loaded     time.Duration
	editor     *lineEditor
	interrupts chan os.Signal
	maxNew     int
	config     sampling.Config
	seed       uint64 // of the next answer
	style      bool   // the terminal may be told to write bold and dim
	last       *chat.Answer
}

// loop reads and answers until the person leaves, with nil, or the process is told to end.
func (t *talk) loop(ctx context.Context) error {
	t.note("Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands.")
	for {
		text, err := t.read(ctx)
		switch {
		case errors.Is(err, io.EOF):
			_, _ = io.WriteString(t.out, "\n")
			return nil
		case errors.Is(err, errLineInterrupted):
			t.note("Ctrl-D leaves.")
			continue
		case errors.Is(err, errLineTooLong):
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
			err = t.respond(ctx, func(ctx context.Context, o generate.Options, show func(string) error) (chat.Answer, error) {
				return t.Ask(ctx, question, o, show)
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

// read returns a message: a line, and those after it while they end in a backslash.
func (t *talk) read(ctx context.Context) (string, error) {
	var text strings.Builder
	for prompt := ">>> "; ; prompt = "... " {
		line, err := t.editor.read(ctx, t.styled("1", prompt))
		if err != nil {
			return "", err
		}
		line, more := strings.CutSuffix(line, "\\")
		text.WriteString(line)
		if !more {
			return text.String(), nil
		}
		text.WriteString("\n")
	}
}

// respond lets the model speak, until it ends or Ctrl-C is pressed.
func (t *talk) respond(ctx context.Context, ask func(ctx context.Context, o generate.Options, show func(string) error) (chat.Answer, error)) error {
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
	bar := startProgress(t.notes(), tokenBar)
	defer bar.stop()
	column := 0 // of the cursor, as far as it matters: 0 or not
	started, anew := false, false
	o.OnPrefill = func(fed, of int) {
		switch {
		case !started:
			bar.update(int64(fed), int64(of))
		case !anew:
			anew = true
			_, _ = show.Fprintf(t.notes(), "\n%s\n", crossingNote(t.model))
		}
	}
	a, err := ask(answering, o, func(piece string) error {
		started = true
		bar.stop()
		if column == 0 {
			piece = strings.TrimLeft(piece, " ") // SentencePiece's word mark before the first word
		}
		if piece != "" {
			column = len(piece) - 1 - strings.LastIndex(piece, "\n")
		}
		_, err := io.WriteString(t.out, piece)
		return err
	})
	bar.stop()
	if column != 0 {
		_, _ = io.WriteString(t.out, "\n")
	}
	if len(a.IDs) > 0 {
		t.last = &a
		_, _ = show.Fprintf(t.details(), "prompt: %d tokens, %d of them cached; seed %d\n", a.Prompt, a.Cached, t.seed)
		t.seed++
	}

	var tooLong *model.TooLongError
	var tooMany *tokenizer.TooManyError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &tooMany):
		t.note("That makes more than %d tokens, and the context holds %d: nothing was asked%s. "+
			"/clear starts a new conversation.", tooMany.Max, t.model.Context, contextLimit(t.model))
	case errors.As(err, &tooLong):
		t.note("That makes %d tokens, and the context holds %d: nothing was asked%s. "+
			"/clear starts a new conversation.", tooLong.Tokens, tooLong.Context, contextLimit(t.model))
	case errors.Is(err, context.Canceled) && len(a.IDs) == 0:
		t.note("Stopped before the answer began; the conversation is as it was.")
	case errors.Is(err, context.Canceled):
		t.note("Stopped; what was said so far stays in the conversation.")
	case errors.Is(err, sampling.ErrNothingLeft), errors.Is(err, chat.ErrNothingAsked):
		t.note("%v.", err)
	case err != nil:
		return err
	case a.Finish == generate.FinishContext:
		t.note("Stopped: the context of %d tokens is full%s. "+
			"/clear starts a new conversation, /save keeps this one.", t.model.Context, contextLimit(t.model))
	case a.Finish == generate.FinishLength:
		t.note("Stopped after %d tokens (--max-new-tokens).", len(a.IDs))
	}
	return nil
}

var errLeave = errors.New("leave")

const chatHelp = `/clear         start a new conversation; the system message stays
/system TEXT   set the system message, and keep the conversation; without TEXT show it, with - remove it
/regen         answer the last question again
/save FILE     write the conversation as JSON
/load FILE     go on with one that was saved
/stats         tokens, times, seed
/exit          leave, as Ctrl-D does
//…            a message that begins with a slash
Ctrl-C stops an answer. Several lines: paste them, or end a line with a backslash.
`

// command does what comes after a slash.
func (t *talk) command(ctx context.Context, command string) error {
	name, argument, _ := strings.Cut(strings.TrimSpace(command), " ")
	argument = strings.TrimSpace(argument)
	switch name {
	case "help", "?":
		_, _ = io.WriteString(t.out, chatHelp)
	case "exit", "quit", "bye":
		return errLeave
	case "clear":
		t.Clear()
		t.note("A new conversation.")
	case "system":
		switch argument {
		case "":
			if t.System() == "" {
				t.note("There is no system message.")
			} else {
				_, _ = io.WriteString(t.out, t.System()+"\n")
			}
		case "-":
			t.SetSystem("")
			t.note("No system message from here on.")
		default:
			t.SetSystem(argument)
			t.note("The system message is set.")
		}
	case "regen":
		if !t.config.DoSample && t.last != nil {
			t.note("Greedy: the same question gets the same answer. Start with --temperature for others.")
		}
		return t.respond(ctx, t.Again)
	case "save", "load":
		if argument == "" {
			t.note("/%s needs the name of a file.", name)
			return nil
		}
		action, done := t.save, "Saved"
		if name == "load" {
			action, done = t.load, "Loaded"
		}
		if err := action(withHome(argument)); err != nil {
			t.note("/%s: %v.", name, err)
			return nil
		}
		t.note("%s: %d messages.", done, len(t.Messages()))
	case "stats":
		t.stats()
	default:
		t.note("There is no command /%s; /help lists them.", name)
	}
	return nil
}

func (t *talk) stats() {
	p := func(format string, args ...any) { _, _ = show.Fprintf(t.out, format+"\n", args...) }
	p("model: %s on %s", t.name, t.model.Device())
	p("messages: %d; tokens: %d of %d", len(t.Messages()), t.Tokens(), t.model.Context)
	if t.config.DoSample {
		p("sampling, next seed %d", t.seed)
	} else {
		p("greedy")
	}
	if t.last != nil {
		p("last answer: %s", timings(t.loaded, t.last.Prompt, &t.last.Result))
	}
}

// note tells the person something that is not the model's answer.
func (t *talk) note(format string, args ...any) {
	_, _ = io.WriteString(t.out.Unwrap(), t.styled("2", "("+show.Sprintf(format, args...)+")")+"\n")
}

// styled writes text bold (1) or dim (2), where that is wanted.
func (t *talk) styled(style, text string) string {
	if !t.style {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// savedChat is the file of /save.
type savedChat struct {
	Model    string         `json:"model,omitempty"`
	Messages []savedMessage `json:"messages"`
}

type savedMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// save writes the file whole or not at all.
func (t *talk) save(file string) (err error) {
	saved := savedChat{Model: t.name, Messages: []savedMessage{}}
	for _, m := range t.Messages() {
		m.Content = strings.TrimPrefix(m.Content, " ") // SentencePiece's word mark at the start of an answer
		saved.Messages = append(saved.Messages, savedMessage(m))
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".phi3-chat-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = writeJSON(f, saved)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// maxSavedChat is far beyond any context: a slip of the finger is no reason to fill the memory.
const maxSavedChat = 64 << 20

// load reads a file of save's, or a bare list of messages.
func (t *talk) load(file string) error {
	data, err := strictjson.ReadFile(os.DirFS(filepath.Dir(file)), filepath.Base(file), maxSavedChat)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var saved savedChat
	into := any(&saved)
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		into = &saved.Messages
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s is no saved conversation: %w", file, err)
	}
	var messages []tokenizer.Message
	for _, m := range saved.Messages {
		messages = append(messages, tokenizer.Message(m))
	}
	if err := t.Load(messages); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// withHome replaces the ~ of a path, as a shell would.
func withHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

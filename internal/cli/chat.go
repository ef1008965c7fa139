package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"phi3/internal/chat"
	"phi3/internal/lineedit"
	"phi3/internal/show"
	"phi3/internal/talk"
	"phi3/internal/text"
	"phi3/internal/usage"
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
		Long: `Talk with the model at a terminal. The conversation stays in the KV cache, so phi3
computes only the new tokens of each question.

Ctrl-C stops an answer, Ctrl-D ends the chat, and /help lists the commands. To send a
message of several lines, paste it, or type it between lines of """. A line that ends in
a backslash continues on the next line. Long lines of an answer break between words.

The up arrow recalls the messages of this chat and of earlier ones. phi3 keeps them in
$XDG_STATE_HOME/phi3/history (~/.local/state/phi3/history), which only you can read.
PHI3_HISTORY names another file. If it is set to nothing (PHI3_HISTORY=), phi3 writes
no file.`,
		Example: `  phi3 chat --model ./Phi-3-mini-4k-instruct --temperature 0.7
  phi3 chat --system "Answer like a pirate."`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	f.sampling.register(flags)
	flags.StringVar(&f.system, "system", "", "system message")
	flags.BoolVar(&f.noSpecial, "no-special", false, noSpecialHelp)
	f.template.register(flags)
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 0,
		"largest number of tokens in an answer (default: as many as the context has room for)")
	return cmd
}

func (f *chatFlags) run(ctx context.Context, s *streams) error {
	if f.maxNew < 0 {
		return usage.Errorf("--max-new-tokens is %d, not 0 or more", f.maxNew)
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
		return usage.Errorf("chat needs a terminal; for a pipe or a file, use phi3 generate --chat")
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
	defaults, err := f.sampling.defaults(s, checkpoint.FS, m.Config.EOS)
	if err != nil {
		return err
	}
	if len(defaults.Stops) > 0 {
		_, _ = show.Fprintln(s.notes(), "note: chat ignores the stop_strings of generation_config.json")
	}
	if f.maxNew == 0 {
		f.maxNew = defaults.MaxNewTokens
	}
	defaults.Sampling.MaxNewTokens = f.maxNew
	if err := f.template.apply(t); err != nil {
		return err
	}
	codec := &text.Codec{Tokenizer: t, Literal: f.noSpecial}
	conversation, err := chat.New(ctx, m.Model, codec)
	if err != nil {
		return err
	}
	defer conversation.Close()
	if f.system != "" {
		conversation.SetSystem(f.system)
		if codec.DropsSystem(ctx, f.system) {
			_, _ = show.Fprintf(s.notes(), "note: %s\n", text.SystemDropped)
		}
	}

	// From here on, Ctrl-C stops an answer and not the program; only SIGTERM ends the program.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	s.takesInterrupts.Store(true)
	defer signal.Stop(interrupts)
	talking, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	history, err := lineedit.OpenHistory(talk.HistoryFile())
	if err != nil {
		_, _ = show.Fprintf(s.notes(), "note: the history of this run is not kept: %v\n", err)
	}
	conversing := &talk.Talk{
		Conversation: conversation, Codec: codec, Model: m.Model, Name: checkpoint.Name, Loaded: m.Took,
		ContextLimit: contextLimit(m.Model), MaxNewTokens: f.maxNew, Sampling: defaults.Sampling,
		Seed: f.sampling.firstSeed(), Editor: lineedit.New(in, out, history), Interrupts: interrupts,
		Out: s.out, Notes: s.notes(), Details: s.details(), Quiet: s.quiet,
		Style: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	err = conversing.Run(talking)
	if talking.Err() != nil {
		<-ctx.Done() // the signal reaches it too, or an earlier one has
	}
	return err
}

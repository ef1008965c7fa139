package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

type generateFlags struct {
	model     modelFlags
	prompt    promptFlags
	sampling  samplingFlags
	maxNew    int
	stops     []string
	sequences int
	logProbs  int // -1: none
	noCache   bool
	echo      bool
	ignoreEOS bool
	json      bool
	jsonLines bool
	timings   bool
}

func newGenerate(s *streams) *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Continue a prompt",
		Long: `Continue a prompt, token by token: always with the most probable one (greedy), or by
drawing, with --do-sample or a flag such as --temperature, in the same order and with
the same formulas as Hugging Face's generate.

The text appears on stdout as it is made. It ends at the model's end-of-text token,
before a --stop text, or after --max-new-tokens.

` + inputHelp("prompt", newlineDropped),
		Example: `  phi3 generate --prompt "The capital of Germany is"
  phi3 generate --chat --prompt "Write an email to Sarah." --temperature 0.8
  phi3 generate -m ./Phi-3-mini-4k-instruct -f prompt.txt -n 500 --stop "User:"
  echo "The capital of France is" | phi3 generate --json --logprobs 5`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	flags := cmd.Flags()
	f.prompt.register(flags)
	f.model.register(flags)
	f.sampling.register(flags)
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 0,
		"most tokens to generate (default: 256; with --chat, what the context holds)")
	flags.StringArrayVar(&f.stops, "stop", nil, "end before this `text` (repeatable)")
	flags.IntVar(&f.sequences, "num-return-sequences", 1,
		"how many texts to draw; the prompt is read once. Text i, from 0, has the seed --seed + i")
	flags.IntVar(&f.logProbs, "logprobs", -1,
		"also show each token's log probability in the model's own distribution, and those of the `n` most "+
			"probable ones")
	flags.BoolVar(&f.noCache, "no-cache", false,
		"recompute the whole sequence for every token instead of caching keys and values")
	flags.BoolVar(&f.echo, "echo", false, "print the prompt before the answer")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on after an end-of-text token")
	flags.BoolVar(&f.json, "json", false, "print one JSON object for each text instead of streaming it")
	flags.BoolVar(&f.jsonLines, "jsonl", false,
		"print one line of JSON for each token as it is made, and one for each text (schema: docs/json.md)")
	flags.BoolVar(&f.timings, "timings", false,
		"say on stderr how long everything took; on a terminal that is the default")
	return cmd
}

// check finds what is wrong with the flags alone, before anything takes time.
func (f *generateFlags) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case f.maxNew < 0:
		return usagef("--max-new-tokens is %d, not 0 or more", f.maxNew)
	case f.sequences < 1:
		return usagef("--num-return-sequences is %d, not 1 or more", f.sequences)
	case f.sequences > 1 && !f.sampling.sampling():
		return usagef("--num-return-sequences %d would give the same text every time without sampling; add "+
			"--do-sample", f.sequences)
	case uint64(f.sequences-1) > math.MaxUint64-f.sampling.seed:
		return usagef("--seed is %d, and with --num-return-sequences %d not above %d: text i has the seed "+
			"--seed + i",
			f.sampling.seed, f.sequences, uint64(math.MaxUint64)-uint64(f.sequences-1))
	case f.logProbs < 0 && changed("logprobs"):
		return usagef("--logprobs is %d, not 0 or more", f.logProbs)
	case f.json && f.jsonLines:
		return usagef("--json and --jsonl are two formats of one answer; give one")
	}
	for _, stop := range f.stops {
		if stop == "" {
			return usagef("--stop is empty")
		}
	}
	return f.sampling.check()
}

// generated is one text as --json and --jsonl print it.
type generated struct {
	Model     string         `json:"model"`
	Index     int            `json:"index"`  // of the text, from 0
	Prompt    string         `json:"prompt"` // as the model saw it: with --chat, after the template
	PromptIDs []int32        `json:"prompt_ids"`
	Text      string         `json:"text"` // with --echo, the prompt too
	IDs       []int32        `json:"ids"`
	Finish    string         `json:"finish_reason"`       // stop, length or context
	Stop      string         `json:"stop_text,omitempty"` // the --stop text that ended it
	Sampling  *sampledWith   `json:"sampling,omitempty"`  // absent where the text is greedy
	LogProbs  []tokenLogProb `json:"logprobs,omitempty"`  // of each of IDs
	Cached    int            `json:"cached_tokens"`       // of the prompt, that were not computed again
	LoadMS    float64        `json:"load_ms"`
	PrefillMS float64        `json:"prefill_ms"` // to the first token
	DecodeMS  float64        `json:"decode_ms"`  // from the first token to the last
}

type sampledWith struct {
	Seed uint64 `json:"seed"`
	sampling.Config
}

// tokenLogProb is a token and its log probability, of which the most probable ones are alternatives.
type tokenLogProb struct {
	token
	// natural logarithm, of the softmax of the logits as the model gave them
	LogProb float64        `json:"logprob"`
	Top     []tokenLogProb `json:"top,omitempty"`
}

// generatedToken is one token as --jsonl prints it.
type generatedToken struct {
	Index int   `json:"index"` // of the text
	ID    int32 `json:"id"`
	// Text is what has become certain with this token: "" while a character or what may be a stop text is not
	// complete. With the last token everything is certain.
	Text    string         `json:"text"`
	LogProb *float64       `json:"logprob,omitempty"`
	Top     []tokenLogProb `json:"top,omitempty"`
}

func (f *generateFlags) run(cmd *cobra.Command, s *streams) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	t, err := openTask(cmd.Context(), s, &f.model, &f.prompt, nil)
	if err != nil {
		return err
	}
	defer t.close()
	config, err := f.sampling.config(s, t.checkpoint.FS, t.model.Config.EOS)
	if err != nil {
		return err
	}
	seed := f.sampling.firstSeed()
	if !config.DoSample && f.sampling.flags.Changed("seed") {
		_, _ = show.Fprintln(s.notes(), "note: --seed changes nothing: without sampling the text is always "+
			"the same (--do-sample turns it on)")
	}

	switch {
	case cmd.Flags().Changed("max-new-tokens"):
	case config.maxNew > 0:
		f.maxNew = config.maxNew
	case f.prompt.chat:
		f.maxNew = t.model.Context
	default:
		f.maxNew = 256
	}
	config.MaxNewTokens = f.maxNew
	f.stops = append(f.stops, config.stops...)
	session := generate.NewSession(t.model, f.noCache)
	defer session.Close()
	session.Append(t.ids...)
	for i := range f.sequences {
		session.Truncate(len(t.ids))
		if err := f.text(cmd, s, t, session, i, config.Config, seed+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// text generates and prints one text.
func (f *generateFlags) text(
	cmd *cobra.Command, s *streams, t *task, session *generate.Session, index int, config sampling.Config,
	seed uint64,
) error {
	g := generated{Model: t.checkpoint.Name, Index: index, Prompt: t.text, PromptIDs: t.ids, LoadMS: ms(t.took)}
	o := generate.Options{MaxNewTokens: f.maxNew, Logits: f.logProbs >= 0}
	if !f.ignoreEOS {
		o.Stop = t.model.Config.EOS
	}
	if !config.Neutral() {
		o.Sampler = sampling.New(config, seed)
	}
	if config.DoSample {
		g.Sampling = &sampledWith{seed, config}
		_, _ = show.Fprintf(s.details(), "seed: %d\n", seed)
	}
	bar := progress.Start(s.notes(), progress.ReadingPrompt)
	defer bar.Stop()
	atTerminal := show.IsTerminal(s.out)
	started, anew := false, false
	session.Progress = func(fed, of int) {
		switch {
		case !started:
			bar.Update(int64(fed), int64(of))
		case !f.noCache && !anew:
			anew = true
			if atTerminal {
				_, _ = io.WriteString(s.notes(), "\n") // the cursor is in the middle of the text
			}
			_, _ = show.Fprintln(s.notes(), crossingNote(t.model))
		}
	}

	var piece string // of the token at hand
	a := newAnswer(t.tokenizer, t.ids, f.stops, func(text string) error {
		piece += text
		if f.json || f.jsonLines {
			return nil
		}
		_, err := io.WriteString(s.text(), text)
		return err
	})
	if f.sequences > 1 && !f.json && !f.jsonLines {
		if _, err := show.Fprintf(s.out, "--- %d of %d\n", index+1, f.sequences); err != nil {
			return err
		}
	}
	if f.echo {
		if err := a.show(t.text); err != nil {
			return err
		}
	}
	result := generate.Result{Finish: generate.FinishLength}
	var err error
	for token, tokenErr := range session.Tokens(cmd.Context(), o) {
		if err = tokenErr; err != nil {
			break
		}
		result.Add(token)
		started, piece = true, ""
		bar.Stop() // before the first word
		err = a.push(token.ID)
		if a.stop != "" {
			result.Finish = generate.FinishStop
		}
		if token.Finish != "" && err == nil {
			err = a.end()
		}
		if f.logProbs >= 0 {
			g.LogProbs = append(g.LogProbs, f.logProb(t.tokenizer, &token))
		}
		if f.jsonLines {
			line := generatedToken{Index: index, ID: token.ID, Text: piece}
			if f.logProbs >= 0 {
				p := &g.LogProbs[len(g.LogProbs)-1]
				line.LogProb, line.Top = &p.LogProb, p.Top
			}
			err = cmp.Or(writeLine(s.out, map[string]any{"token": line}), err)
		}
		if err != nil || result.Finish != "" {
			break
		}
	}
	bar.Stop()
	if endErr := a.end(); err == nil {
		err = endErr
	}
	g.Text = a.text.String()
	if !f.json && !f.jsonLines && g.Text != "" && !strings.HasSuffix(g.Text, "\n") {
		_, _ = io.WriteString(s.out, "\n")
	}
	if err != nil {
		return explain(err, t.model)
	}
	g.IDs, g.Finish, g.Stop, g.Cached = nonNil(result.IDs), string(result.Finish), a.stop, result.Cached
	g.PrefillMS, g.DecodeMS = ms(result.Prefill), ms(total(result.Steps))

	_, _ = show.Fprintf(s.details(), "prompt: %d tokens, %d of them cached\n", len(t.ids), result.Cached)
	switch result.Finish {
	case generate.FinishLength:
		if f.maxNew > 0 {
			_, _ = show.Fprintf(s.notes(), "stopped at --max-new-tokens %d; the text may be incomplete\n",
				f.maxNew)
		}
	case generate.FinishContext:
		_, _ = show.Fprintf(s.err, "stopped: the context of %d tokens is full (%d of prompt, %d "+
			"generated)%s\n",
			t.model.Context, len(t.ids), len(result.IDs), contextLimit(t.model))
	}
	if f.timings || !s.quiet && !f.json && !f.jsonLines && atTerminal && show.IsTerminal(s.err) {
		_, _ = show.Fprintln(s.err, timings(t.took, len(t.ids), &result))
	}
	switch {
	case f.json:
		return writeJSON(s.out, g)
	case f.jsonLines:
		return writeLine(s.out, map[string]any{"result": g})
	case f.logProbs >= 0:
		return writeLogProbs(s.err, g.LogProbs)
	}
	return nil
}

func (f *generateFlags) logProb(t *tokenizer.Tokenizer, chosen *generate.Token) tokenLogProb {
	l := sampling.NewLogProbs(chosen.Logits)
	p := tokenLogProb{token: describe(t, chosen.ID), LogProb: l.Of(chosen.ID)}
	for _, top := range l.Top(f.logProbs) {
		p.Top = append(p.Top, tokenLogProb{token: describe(t, top), LogProb: l.Of(top)})
	}
	return p
}

// writeLogProbs prints the table for people: one row a token, with its alternatives.
func writeLogProbs(w io.Writer, tokens []tokenLogProb) error {
	rows := [][]string{{"id", "piece", "logprob", "most probable"}}
	for _, p := range tokens {
		var top []string
		for _, q := range p.Top {
			top = append(top, fmt.Sprintf("%s %.4f", shownPiece(q.Piece), q.LogProb))
		}
		rows = append(rows, []string{
			fmt.Sprint(p.ID), shownPiece(p.Piece), fmt.Sprintf("%.4f", p.LogProb),
			strings.Join(top, "  "),
		})
	}
	var b strings.Builder
	b.WriteString(show.Table(rows))
	_, err := io.WriteString(w, b.String())
	return err
}

// timings is one line about what took how long.
func timings(load time.Duration, prompt int, r *generate.Result) string {
	fed := prompt - r.Cached
	line := fmt.Sprintf("load %s; prompt %d tokens", show.Duration(load), prompt)
	if len(r.IDs) == 0 {
		return line
	}
	if r.Cached > 0 {
		line += fmt.Sprintf(", %d of them cached", r.Cached)
	}
	line += fmt.Sprintf(", first token after %s (%s tokens/s); generated %d", show.Duration(r.Prefill),
		show.Digits(float64(fed)/r.Prefill.Seconds()), len(r.IDs))
	if n := len(r.Steps); n > 0 {
		decode := total(r.Steps)
		line += fmt.Sprintf(" in %s (%s tokens/s, %s a token)", show.Duration(r.Prefill+decode),
			show.Digits(float64(n)/decode.Seconds()), show.Duration(decode/time.Duration(n)))
	}
	return line
}

// crossingNote explains a pause.
func crossingNote(m *model.Model) string {
	return fmt.Sprintf("note: beyond %d tokens this model rotates positions otherwise (long RoPE), so "+
		"everything so far is computed once more", m.Config.Crossing())
}

// writeJSON writes one indented object, with < and > as they are: special tokens are full of them.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(show.NewJSONWriter(w))
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes one object on a line of its own.
func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(show.NewJSONWriter(w))
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// nonNil makes an empty list print as [] and not as null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func total(steps []time.Duration) (sum time.Duration) {
	for _, s := range steps {
		sum += s
	}
	return sum
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/generate"
)

type generateFlags struct {
	model     modelFlags
	prompt    promptFlags
	maxNew    int
	noCache   bool
	echo      bool
	ignoreEOS bool
	json      bool
}

func newGenerate(s *streams) *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Continue a prompt",
		Long: `Continue a prompt, token by token, always with the most probable one (greedy).

The text appears on stdout as it is made. It ends at the model's end-of-text token
or after --max-new-tokens.`,
		Example: `  phi3 generate --prompt "The capital of Germany is"
  phi3 generate --chat --prompt "Write an email apologizing to Sarah."
  phi3 generate --model ./Phi-3-mini-4k-instruct --file prompt.txt -n 500
  echo "The capital of France is" | phi3 generate --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	flags := cmd.Flags()
	f.prompt.register(flags)
	f.model.register(flags)
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 256, "most tokens to generate")
	flags.BoolVar(&f.noCache, "no-cache", false, "recompute the whole sequence for every token instead of caching keys and values")
	flags.BoolVar(&f.echo, "echo", false, "print the prompt before the answer")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on after an end-of-text token")
	flags.BoolVar(&f.json, "json", false, "print one JSON object at the end instead of streaming text")
	return cmd
}

// generated is the answer of --json.
type generated struct {
	Model     string  `json:"model"`
	Prompt    string  `json:"prompt"` // as the model saw it: with --chat, after the template
	PromptIDs []int32 `json:"prompt_ids"`
	Text      string  `json:"text"` // with --echo, the prompt too
	IDs       []int32 `json:"ids"`
	Finish    string  `json:"finish_reason"` // stop, length or context
	PrefillMS float64 `json:"prefill_ms"`
	DecodeMS  float64 `json:"decode_ms"`
}

func (f *generateFlags) run(cmd *cobra.Command, s *streams) error {
	if f.maxNew < 0 {
		return usagef("--max-new-tokens is %d", f.maxNew)
	}
	t, err := openTask(cmd.Context(), s, &f.model, &f.prompt)
	if err != nil {
		return err
	}
	defer t.close()
	m := t.model

	var answer strings.Builder
	out := s.out
	if f.json {
		out = io.Discard
	}
	print := func(piece string) error {
		answer.WriteString(piece)
		_, err := io.WriteString(out, piece)
		return err
	}
	if f.echo {
		if err := print(t.text); err != nil {
			return err
		}
	}
	stream := t.tokenizer.NewStream(t.ids, true)
	o := generate.Options{
		MaxNewTokens: f.maxNew,
		NoCache:      f.noCache,
		OnToken:      func(id int32) error { return print(stream.Push(id)) },
	}
	if !f.ignoreEOS {
		o.Stop = m.Config.EOS
	}
	result, err := generate.Run(cmd.Context(), m, t.ids, o)
	if flushErr := print(stream.Flush()); err == nil {
		err = flushErr
	}
	if !f.json && answer.Len() > 0 && !strings.HasSuffix(answer.String(), "\n") {
		_, _ = io.WriteString(out, "\n")
	}
	if err != nil {
		return err
	}
	if result.Finish == generate.FinishContext {
		_, _ = fmt.Fprintf(s.err, "stopped: the context of %d tokens is full (%d of prompt, %d generated)\n", m.Context, len(t.ids), len(result.IDs))
	}
	if !f.json {
		return nil
	}
	var decode float64
	for _, step := range result.Steps {
		decode += step.Seconds() * 1e3
	}
	return writeJSON(s.out, generated{
		Model: t.name, Prompt: t.text, PromptIDs: t.ids, Text: answer.String(), IDs: nonNil(result.IDs), Finish: string(result.Finish),
		PrefillMS: result.Prefill.Seconds() * 1e3, DecodeMS: decode,
	})
}

// writeJSON writes one indented object, with < and > as they are: special tokens are full of them.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// nonNil makes an empty list print as [] and not as null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

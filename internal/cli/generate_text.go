package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"phi3/internal/engine"
	"phi3/internal/progress"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

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
	Cached    int            `json:"cached_tokens"`       // tokens of the prompt that were not computed again
	LoadMS    float64        `json:"load_ms"`
	PrefillMS float64        `json:"prefill_ms"` // to the first token
	DecodeMS  float64        `json:"decode_ms"`  // from the first token to the last
}

type sampledWith struct {
	Seed uint64 `json:"seed"`
	sampling.Config
}

// tokenLogProb is a token with its log probability. Those of Top are the most probable ones at its place.
type tokenLogProb struct {
	tokenizer.Token
	// natural logarithm of the softmax of the model's logits
	LogProb float64        `json:"logprob"`
	Top     []tokenLogProb `json:"top,omitempty"`
}

// generatedToken is one token as --jsonl prints it.
type generatedToken struct {
	Index int   `json:"index"` // of the text
	ID    int32 `json:"id"`
	// Text is what can be shown after this token: "" while a character, or what may be a stop text, is
	// incomplete. The last token completes the text.
	Text    string         `json:"text"`
	LogProb *float64       `json:"logprob,omitempty"`
	Top     []tokenLogProb `json:"top,omitempty"`
}

// generator generates the texts of one command.
type generator struct {
	*generateFlags
	*streams
	task   *task
	engine *engine.Engine
	config sampling.Config
}

// one generates and prints one text.
func (g *generator) one(ctx context.Context, index int, seed uint64) error {
	out := &generated{Index: index, Model: g.task.checkpoint.Name, Prompt: g.task.text, PromptIDs: g.task.ids}
	if g.config.DoSample {
		out.Sampling = &sampledWith{seed, g.config}
		_, _ = show.Fprintf(g.details(), "seed: %d\n", seed)
	}
	if g.sequences > 1 && g.asText() {
		if _, err := show.Fprintf(g.out, "--- %d of %d\n", index+1, g.sequences); err != nil {
			return err
		}
	}
	result, err := g.write(ctx, seed, out)
	if g.asText() && out.Text != "" && !strings.HasSuffix(out.Text, "\n") {
		_, _ = io.WriteString(g.out, "\n")
	}
	if err != nil {
		return explain(err, g.task.model)
	}
	out.IDs, out.Finish, out.Cached = append([]int32{}, result.IDs...), string(result.Finish), result.Cached
	out.LoadMS, out.PrefillMS, out.DecodeMS = ms(g.task.took), ms(result.Prefill), ms(result.Decode())
	g.report(&result)
	switch {
	case g.json:
		return show.WriteJSON(g.out, out)
	case g.jsonLines:
		return show.WriteJSONLine(g.out, map[string]any{"result": out})
	case g.logProbs >= 0:
		return writeLogProbs(g.err, out.LogProbs)
	}
	return nil
}

// asText reports whether stdout gets the text as it is made, and not JSON.
func (g *generator) asText() bool { return !g.json && !g.jsonLines }

// write generates one text and prints it as it is made. out receives what --json shows of it.
func (g *generator) write(ctx context.Context, seed uint64, out *generated) (r engine.Result, err error) {
	if g.echo {
		out.Text = g.task.text
		if err := g.show(g.task.text); err != nil {
			return r, err
		}
	}
	request := engine.Request{
		IDs: g.task.ids, MaxNewTokens: g.maxNew, LogProbs: g.logProbs >= 0, Top: g.logProbs,
		NoCache: g.noCache,
	}
	if !g.ignoreEOS {
		request.Stop = g.task.model.Config.EOS
	}
	if !g.config.Neutral() {
		request.Sampler = sampling.New(g.config, seed)
	}
	crossing := g.task.model.Config.Crossing()
	if g.noCache {
		crossing = 0 // every token computes everything again
	}
	reading := progress.NewReading(g.notes(), crossing, show.IsTerminal(g.out))
	defer reading.Stop()
	request.Progress = reading.Update

	answer := g.task.codec.Answer(g.task.ids, g.stops)
	r.Finish = engine.FinishLength // also of no tokens
	for token, tokenErr := range g.engine.Generate(ctx, request) {
		if err = tokenErr; err != nil {
			break
		}
		reading.Stop()
		r.Add(token)
		piece := answer.Push(token.ID)
		if answer.Stop() != "" {
			r.Finish = engine.FinishStop
		}
		if token.Finish != "" {
			piece += answer.End()
		}
		if err = g.token(&token, piece, out); err != nil || r.Finish != "" {
			break
		}
	}
	err = cmp.Or(err, g.show(answer.End())) // nothing is held back if the loop came to its end
	out.Text += answer.Text()
	out.Stop = answer.Stop()
	return r, err
}

// token prints one token and what it adds to the text.
func (g *generator) token(t *engine.Token, piece string, out *generated) error {
	line := generatedToken{Index: out.Index, ID: t.ID, Text: piece}
	if g.logProbs >= 0 {
		p := g.logProb(t)
		out.LogProbs = append(out.LogProbs, p)
		line.LogProb, line.Top = &p.LogProb, p.Top
	}
	if g.jsonLines {
		return show.WriteJSONLine(g.out, map[string]any{"token": line})
	}
	return g.show(piece)
}

// show prints a piece of the text.
func (g *generator) show(piece string) error {
	if !g.asText() {
		return nil
	}
	_, err := io.WriteString(g.text(), piece)
	return err
}

// report says on stderr why the text ended and how long it took.
func (g *generator) report(r *engine.Result) {
	m, prompt := g.task.model, len(g.task.ids)
	_, _ = show.Fprintf(g.details(), "prompt: %d tokens, %d of them cached\n", prompt, r.Cached)
	switch {
	case r.Finish == engine.FinishLength && g.maxNew > 0:
		_, _ = show.Fprintf(g.notes(), "stopped at --max-new-tokens %d; the text may be incomplete\n",
			g.maxNew)
	case r.Finish == engine.FinishContext:
		_, _ = show.Fprintf(g.err, "stopped: the context of %d tokens is full (%d of prompt, %d "+
			"generated)%s\n", m.Context, prompt, len(r.IDs), contextLimit(m))
	}
	if g.timings || !g.quiet && g.asText() && show.IsTerminal(g.out) && show.IsTerminal(g.err) {
		_, _ = show.Fprintln(g.err, r.Times(g.task.took, prompt))
	}
}

func (g *generator) logProb(chosen *engine.Token) tokenLogProb {
	t := g.task.tokenizer
	p := tokenLogProb{Token: t.Token(chosen.ID), LogProb: chosen.LogProb}
	for _, top := range chosen.Top {
		p.Top = append(p.Top, tokenLogProb{Token: t.Token(top.ID), LogProb: top.LogProb})
	}
	return p
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// writeLogProbs prints a table with a row for each token: its log probability, and the alternatives.
func writeLogProbs(w io.Writer, tokens []tokenLogProb) error {
	rows := [][]string{{"id", "piece", "logprob", "most probable"}}
	for _, p := range tokens {
		var top []string
		for _, q := range p.Top {
			top = append(top, fmt.Sprintf("%s %.4f", show.Piece(q.Piece, show.PieceColumns), q.LogProb))
		}
		rows = append(rows, []string{
			fmt.Sprint(p.ID), show.Piece(p.Piece, show.PieceColumns), fmt.Sprintf("%.4f", p.LogProb),
			strings.Join(top, "  "),
		})
	}
	_, err := io.WriteString(w, show.Table(rows))
	return err
}

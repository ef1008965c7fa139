package verify

import (
	"context"
	"fmt"
	"slices"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// tokens compares the ids of a text.
func (r *run) tokens(ctx context.Context, c *Check) Result {
	result := Result{Check: c.Name + ": ids", Source: c.Source, Expected: ids(c.IDs)}
	if r.tokenizer == nil {
		var err error
		if r.tokenizer, err = tokenizer.Load(r.Checkpoint); err != nil {
			result.Got = err.Error()
			return result
		}
	}
	codec := &text.Codec{Tokenizer: r.tokenizer}
	prompt := codec.Plain(c.Text)
	if c.Messages != nil {
		var err error
		if prompt, err = codec.Chat(ctx, c.Messages); err != nil {
			result.Got = err.Error()
			return result
		}
	}
	got, err := codec.Encode(ctx, prompt, 0)
	if err != nil {
		result.Got = err.Error()
		return result
	}
	result.Got, result.Passed = ids(got), slices.Equal(got, c.IDs)
	return result
}

// check makes a check that runs the model.
func (r *run) check(ctx context.Context, m *model.Model, c *Check) error {
	result := Result{Check: c.Name, DType: c.DType, Source: c.Source}
	var err error
	switch c.Kind {
	case Logits:
		err = result.logits(ctx, m, c)
	case Hidden:
		err = result.hidden(ctx, m, c)
	case Next, Greedy:
		err = result.follow(ctx, m, c)
	default:
		err = fmt.Errorf("unknown kind of check %q", c.Kind)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		result.Got, result.Passed = err.Error(), false
	}
	return r.add(result)
}

func (r *Result) logits(ctx context.Context, m *model.Model, c *Check) error {
	r.Check += fmt.Sprintf(", %d × %d values", len(c.Rows), len(c.Rows[0]))
	r.Expected = numbers(c.Rows[0])
	got, _, err := forward(ctx, m, c.IDs)
	if err != nil {
		return err
	}
	first := make([]float64, len(c.Rows[0]))
	for i := range first {
		first[i] = float64(got[0][i])
	}
	r.Got, r.Passed = numbers(first), true
	r.Distance = []Measure{strict(c.Rows, got)}
	return nil
}

func (r *Result) hidden(ctx context.Context, m *model.Model, c *Check) error {
	r.Check += fmt.Sprintf(", %d × %d values", len(c.Rows), len(c.Rows[0]))
	r.Expected = numbers(c.Rows[0])
	_, states, err := forward(ctx, m, c.IDs)
	if err != nil {
		return err
	}
	var got [][]float64
	for _, row := range states {
		got = append(got, ends(row))
	}
	r.Got, r.Passed = numbers(got[0]), true
	r.Distance = hiddenMeasures(c.Rows, got)
	return nil
}

// follow feeds the expected ids one by one and compares the model's choice at each.
func (r *Result) follow(ctx context.Context, m *model.Model, c *Check) error {
	n := len(c.Expect)
	r.Check += ": next token"
	r.Expected = fmt.Sprintf("%d %s", c.Expect[0], c.Text)
	if c.Kind == Greedy {
		r.Check = fmt.Sprintf("%s: %d greedy tokens", c.Name, n)
		r.Expected = c.Text
	}
	session := generate.NewSession(m, false)
	defer session.Close()
	session.Append(c.IDs...)
	gap := Measure{Name: "bf16 steps", Limit: nearTieBF16}
	switch {
	case c.Kind == Next:
		gap.Limit = 0
	case c.DType == "f32":
		gap.Limit = nearTieF32
	}
	same, first, choice := 0, -1, int32(0)
	for i, want := range c.Expect {
		logits, err := session.Logits(ctx)
		if err != nil {
			return err
		}
		got := sampling.Greedy(logits)
		if got == want {
			same++
		} else if first < 0 {
			first, choice = i, got
		}
		gap.Value = max(gap.Value, steps(logits[got], logits[want]))
		session.Append(want)
	}
	switch {
	case first < 0:
		r.Got = r.Expected
	case n == 1:
		r.Got = fmt.Sprint(choice)
	default:
		r.Got = fmt.Sprintf("%d of %d; token %d is %d, not %d", same, n, first+1, choice, c.Expect[first])
	}
	r.Passed, r.Distance = true, []Measure{gap}
	return nil
}

// forward returns the logits and the last hidden state of every id.
func forward(ctx context.Context, m *model.Model, ids []int32) (all logits, hidden [][]float32, err error) {
	cache := m.NewCache()
	defer cache.Reset()
	out := model.Output{AllLogits: true, AllHidden: true}
	if _, err := m.Feed(ctx, model.Input{IDs: ids, Cache: cache}, &out); err != nil {
		return nil, nil, err
	}
	all = slices.Collect(slices.Chunk(out.Logits, m.Config.VocabSize))
	return all, slices.Collect(slices.Chunk(out.Hidden, m.Config.HiddenSize)), nil
}

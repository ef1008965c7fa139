package verify

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// self checks the model against itself. That needs no published numbers.
func (r *run) self(ctx context.Context, m *model.Model, dtype string) error {
	tokens := 12
	if crossing := m.Config.Crossing(); crossing > 0 {
		tokens = min(tokens, crossing) // a longer text changes the RoPE factors of its first tokens
	}
	prompt := spread(tokens, m.Config.VocabSize)
	at, _, err := forward(ctx, m, prompt)
	if err != nil {
		return err
	}
	r.own[dtype] = at

	session := generate.NewSession(m, false)
	defer session.Close()
	differing := Measure{Name: "logits", Limit: 0}
	var failed error
	for i, id := range prompt {
		session.Append(id)
		step, err := session.Logits(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = err
			break
		}
		for j, l := range step {
			if math.Float32bits(l) != math.Float32bits(at[i][j]) {
				differing.Value++
			}
		}
	}
	result := Result{
		Check: "token by token and at once", DType: dtype, Source: "itself",
		Expected: "the same bits", Got: "the same bits",
		Distance: []Measure{differing}, Passed: failed == nil,
	}
	switch {
	case failed != nil:
		result.Got = failed.Error()
	case !differing.OK():
		result.Got = "others"
	}
	if err := r.add(result); err != nil || len(r.own) < 2 {
		return err
	}
	return r.add(selfResult(r.own["f32"], r.own["bf16"]))
}

// spread returns the given number of ids, from all parts of the vocabulary.
func spread(tokens, vocab int) []int32 {
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32((450 + 7919*i) % vocab)
	}
	return ids
}

// selfResult compares the two runs. Every row of logits must point in the same direction, and the choice in
// bfloat16 must be one of the two best in float32, or a near tie with the best.
func selfResult(exact, rounded logits) Result {
	least := Measure{Name: "cosine", Value: 1, Limit: selfCosine, Least: true}
	gap := Measure{Name: "bf16 steps", Limit: nearTieBF16}
	same := 0
	for i := range exact {
		least.Value = math.Min(least.Value, cosine(exact[i], rounded[i]))
		best, choice := sampling.Greedy(exact[i]), sampling.Greedy(rounded[i])
		if best == choice {
			same++
		}
		if rank(exact[i], choice) > 2 {
			gap.Value = max(gap.Value, steps(exact[i][best], exact[i][choice]))
		}
	}
	return Result{
		Check: "bf16 against f32", Source: "itself",
		Expected: "the same choices, or the second best",
		Got:      fmt.Sprintf("%d of %d the same", same, len(exact)),
		Distance: []Measure{least, gap}, Passed: true,
	}
}

// rank returns the place of an id among all, 1 for the most probable.
func rank(logits []float32, id int32) int {
	n := 1
	for i, l := range logits {
		if c := cmp.Compare(l, logits[id]); c > 0 || c == 0 && int32(i) < id {
			n++
		}
	}
	return n
}

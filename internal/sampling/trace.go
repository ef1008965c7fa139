package sampling

import "slices"

// Step is a step of choosing a token, and what it leaves.
type Step struct {
	Name string // model, penalties, temperature, top_k, top_p, min_p or typical_p
	// Probabilities are those of drawing each token if this step were the last one: [vocab] in 0 … 1. 0: the
	// token cannot be chosen.
	Probabilities []float64
	Kept          int // how many are above 0
}

// Trace returns the steps by which a [Sampler] with the config chooses the token after ids from its logits
// [vocab]. The last of them has the probabilities of its draw. generated says how many of the last ids
// continue the prompt.
//
// The first step is the model's own distribution, which nothing has changed. "penalties" is all that comes
// before the temperature: bias, penalties, and the rules that forbid and force tokens. Without DoSample, the
// temperature leaves the most probable token alone. A step that is off leaves everything; typical-p is left
// out if it is off. If no token is left, [Sampler.Sample] returns [ErrNothingLeft].
func Trace(c Config, logits []float32, ids []int32, generated int) (steps []Step) {
	s := &Sampler{config: c, chosen: generated, scores: slices.Clone(logits)}
	s.all()
	steps = append(steps, s.step("model"))
	s.process(ids)
	s.all()
	steps = append(steps, s.step("penalties"))
	if c.DoSample {
		s.heat()
		s.all()
	} else {
		best := Greedy(s.scores)
		s.drop(func(k candidate) bool { return k.id != best })
	}
	steps = append(steps, s.step("temperature"))
	for _, f := range filters {
		if c.DoSample {
			f.apply(s)
		}
		if f.name != "typical_p" || c.DoSample && c.TypicalP < 1 {
			steps = append(steps, s.step(f.name))
		}
	}
	return steps
}

// step returns what a step has left in s.kept.
func (s *Sampler) step(name string) Step {
	step, total := Step{Name: name, Probabilities: make([]float64, len(s.scores))}, s.total()
	for _, k := range s.kept {
		if p := k.weight / total; p > 0 {
			step.Probabilities[k.id] = p
			step.Kept++
		}
	}
	return step
}

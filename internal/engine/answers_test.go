package engine_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// question is a request and its answer, which was computed without an engine.
type question struct {
	engine.Request // the Begin of its Watch is a watcher's, see take
	codec          *text.Codec
	config         *sampling.Config // nil: the most probable token
	seed           uint64
	want           []engine.Token // without times and without Cached and Fed
	text           string
}

// request returns the request with a sampler of its own.
func (q *question) request() engine.Request {
	r := q.Request
	if q.config != nil {
		r.Sampler = sampling.New(*q.config, q.seed)
	}
	return r
}

// answers computes the answers to questions one after another, with [generate.Session].
type answers struct {
	model *model.Model
	codec *text.Codec // the demonstration's; any ids give a text
	next  uint64      // seed
}

func newAnswers(t *testing.T, checkpoint string) *answers {
	t.Helper()
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	return &answers{load(t, checkpoint, newDevice(t), model.Options{}), &text.Codec{Tokenizer: tok}, 0}
}

// answer sets q.want and q.text.
func (a *answers) answer(t *testing.T, q *question) {
	t.Helper()
	ctx, r := context.Background(), q.request()
	if r.PromptLogProbs {
		q.want = append(q.want, engine.Token{ID: -1, Prompt: a.prompt(t, &r), Finish: engine.FinishLength})
	}
	if q.text = ""; r.MaxNewTokens == 0 {
		return
	}
	s := generate.NewSession(a.model, false)
	defer s.Close()
	s.Append(r.IDs...)
	for finish := engine.Finish(""); finish == ""; {
		logits, err := s.Logits(ctx)
		require.NoError(t, err)
		token := engine.Token{ID: sampling.Greedy(logits)}
		if r.Sampler != nil {
			token.ID, err = r.Sampler.Sample(logits, s.IDs())
			require.NoError(t, err)
		}
		if r.LogProbs {
			top := logProbs(logits, token.ID, r.Top)
			token.LogProb, token.Top = top[0].LogProb, top[1:]
		}
		s.Append(token.ID)
		switch {
		case slices.Contains(r.Stop, token.ID):
			finish = engine.FinishStop
		case s.Len() == len(r.IDs)+r.MaxNewTokens:
			finish = engine.FinishLength
		case s.Len() > a.model.Context:
			finish = engine.FinishContext
		}
		token.Finish = finish
		if r.PromptLogProbs && s.Len() == len(r.IDs)+1 {
			token.Prompt = q.want[0].Prompt
			q.want = nil
		}
		q.want = append(q.want, token)
	}
	answer := a.codec.Answer(q.IDs, nil)
	for _, token := range q.want {
		q.text += answer.Push(token.ID)
	}
	q.text += answer.End()
}

// prompt computes the log probabilities of the prompt's ids but the first.
func (a *answers) prompt(t *testing.T, r *engine.Request) (all [][]engine.LogProb) {
	t.Helper()
	cache := a.model.NewCache()
	defer cache.Reset()
	out := model.Output{AllLogits: true}
	_, err := a.model.Feed(context.Background(), model.Input{IDs: r.IDs, Cache: cache}, &out)
	require.NoError(t, err)
	vocab := a.model.Config.VocabSize
	for i, id := range r.IDs[1:] {
		all = append(all, logProbs(out.Logits[i*vocab:(i+1)*vocab], id, r.Top))
	}
	return all
}

// logProbs are those of an id and of the n most probable ids.
func logProbs(logits []float32, id int32, n int) []engine.LogProb {
	l := sampling.NewLogProbs(logits)
	all := []engine.LogProb{{ID: id, LogProb: l.Of(id)}}
	for _, id := range l.Top(n) {
		all = append(all, engine.LogProb{ID: id, LogProb: l.Of(id)})
	}
	return all
}

// ask makes n questions. Many prompts begin alike, with whole blocks and parts of one; some continue
// another's answer. Lengths lie on both sides of the ends of blocks, of the change of RoPE factors and of
// the context.
func (a *answers) ask(t *testing.T, n int) (all []*question) {
	t.Helper()
	random := rand.New(rand.NewPCG(11, 12))
	c := &a.model.Config
	ids := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = random.Int32N(int32(c.VocabSize))
		}
		return ids
	}
	systems := [][]int32{ids(a.model.Context), ids(a.model.Context)}
	lengths := []int{1, 2, 9, 40, 120, 125, 127, 128, 129, 131, 190, 254, 256, 257}
	if crossing := c.Crossing(); crossing > 0 {
		lengths = append(lengths, crossing-3, crossing-1, crossing, crossing+1)
	}
	for len(all) < n {
		q := &question{codec: a.codec}
		length := lengths[random.IntN(len(lengths))]
		switch k := random.IntN(10); {
		case k == 0:
			q.IDs = ids(min(length, a.model.Context))
		case k <= 2 && len(all) > 0: // the next turn of a conversation
			before := all[random.IntN(len(all))]
			q.IDs = slices.Clone(before.IDs)
			for _, token := range before.want {
				q.IDs = append(q.IDs, max(token.ID, 0))
			}
			q.IDs = append(q.IDs, ids(1+random.IntN(5))...)
		case k == 3: // near the end of the context
			q.IDs = slices.Clone(systems[0][:a.model.Context-random.IntN(6)])
		default:
			system := systems[random.IntN(2)]
			q.IDs = append(slices.Clone(system[:min(length, len(system)-8)]), ids(random.IntN(4))...)
		}
		if len(q.IDs) > a.model.Context {
			continue
		}
		a.vary(q, random)
		a.answer(t, q)
		if random.IntN(5) == 0 && len(q.want) > 2 { // again, with an end
			at := random.IntN(len(q.want))
			q.Stop, q.want = []int32{-1, q.want[at].ID}, nil
			a.answer(t, q)
		}
		all = append(all, q)
	}
	return all
}

// vary sets how a question is to be answered.
func (a *answers) vary(q *question, random *rand.Rand) {
	q.MaxNewTokens = []int{1, 2, 5, 9, 14}[random.IntN(5)]
	if random.IntN(2) == 0 {
		c := sampling.Defaults()
		c.DoSample, c.Temperature, c.TopP = true, 0.5+random.Float32(), 0.7+0.3*random.Float64()
		switch random.IntN(4) {
		case 0:
			c.RepetitionPenalty, c.FrequencyPenalty = 1.2, 0.7
		case 1:
			c.TopK, c.NoRepeatNGram, c.PresencePenalty = 0, 2, 1
		case 2:
			c.MinNewTokens, c.EOS = 4, a.model.Config.EOS
			q.Stop = a.model.Config.EOS
		}
		a.next++
		q.config, q.seed = &c, a.next
	}
	if random.IntN(3) == 0 {
		q.LogProbs, q.Top = true, random.IntN(4)
	}
	switch random.IntN(12) {
	case 0:
		q.PromptLogProbs = true
		if random.IntN(3) == 0 {
			q.MaxNewTokens = 0
		}
	case 1:
		q.NoCache = true
	case 2:
		q.Alone = true
	case 3:
		q.Alone, q.NoCache = true, true
	case 4, 5:
		q.Watch = &engine.Watch{From: len(q.IDs) * 2 / 3, Tokens: len(q.IDs) % 40}
	}
}

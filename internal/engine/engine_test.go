package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// open loads a checkpoint of testdata on the CPU.
func open(t *testing.T, name string, o model.Options) *model.Model {
	t.Helper()
	backend, err := cpu.New(cpu.Options{})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), os.DirFS("../../testdata/"+name), backend, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// job is a request of a test. The requests of one job are the same, except that each has a sampler of its own.
type job struct {
	Request
	config sampling.Config
	seed   uint64
}

func (j *job) request() Request {
	r := j.Request
	if !j.config.Neutral() {
		r.Sampler = sampling.New(j.config, j.seed)
	}
	return r
}

// jobs are requests of several kinds. Many of their prompts begin alike.
func jobs(n, vocab, longest int) []job {
	random := rand.New(rand.NewPCG(1, 2))
	ids := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = random.Int32N(int32(vocab))
		}
		return ids
	}
	common := ids(longest)
	all := make([]job, n)
	for i := range all {
		j := &all[i]
		j.config, j.seed = sampling.Defaults(), uint64(i)
		shared := random.IntN(longest / 2)
		j.IDs = append(slices.Clone(common[:shared]), ids(1+random.IntN(longest/2))...)
		j.MaxNewTokens = 1 + random.IntN(20)
		j.config.DoSample = i%3 == 1
		j.LogProbs = i%4 > 1
		j.Top = i % 5
		j.NoCache = i%17 == 16
		j.PromptLogProbs = i%13 == 12
	}
	return all
}

// alone computes what the tokens of a job must be, without an engine.
func alone(t *testing.T, m *model.Model, j *job) []Token {
	t.Helper()
	s := generate.NewSession(m, false)
	defer s.Close()
	r := j.request()
	var tokens []Token
	if s.Append(r.IDs[0]); !r.PromptLogProbs {
		s.Append(r.IDs[1:]...)
	}
	var prompt [][]LogProb
	for s.Len() < len(r.IDs) {
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		l := sampling.NewLogProbs(logits)
		id := r.IDs[s.Len()]
		prompt = append(prompt, append([]LogProb{{id, l.Of(id)}}, top(l, r.Top)...))
		s.Append(id)
	}
	for range r.MaxNewTokens {
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		token := Token{ID: sampling.Greedy(logits)}
		if r.Sampler != nil {
			token.ID, err = r.Sampler.Sample(logits, s.IDs())
			require.NoError(t, err)
		}
		if r.LogProbs {
			l := sampling.NewLogProbs(logits)
			token.LogProb, token.Top = l.Of(token.ID), top(l, r.Top)
		}
		s.Append(token.ID)
		tokens = append(tokens, token)
	}
	tokens[0].Prompt = prompt
	tokens[len(tokens)-1].Finish = FinishLength
	return tokens
}

// bits is a token without what depends on time and cache.
func bits(t Token) Token {
	t.Cached, t.Fed, t.Queued, t.Time = 0, 0, 0, 0
	return t
}

// Every answer under load is the answer alone, bit for bit.
func TestLoad(t *testing.T) {
	const requests, longest = 60, 300
	m := open(t, "mini", model.Options{Context: 512, Sequences: 8})
	all := jobs(requests, m.Config.VocabSize, longest)
	want := make([][]Token, len(all))
	for i := range all {
		want[i] = alone(t, m, &all[i])
	}
	small := open(t, "mini", model.Options{Context: 512}) // four blocks, so sequences are preempted
	for _, test := range []struct {
		name  string
		model *model.Model
		o     Options
	}{
		{"one at a time", m, Options{Queue: requests}},
		{"8 at once", m, Options{Parallel: 8, Queue: requests}},
		{"8 at once, small steps", m, Options{Parallel: 8, Queue: requests, MaxStep: 17}},
		{"8 at once, no prefix cache", m, Options{Parallel: 8, Queue: requests, NoPrefixCache: true}},
		{"8 at once, few blocks", small, Options{Parallel: 8, Queue: requests}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := New(test.model, test.o)
			var wait sync.WaitGroup
			for i := range all {
				wait.Go(func() {
					var got []Token
					for token, err := range e.Generate(context.Background(), all[i].request()) {
						if err != nil {
							t.Errorf("request %d: %v", i, err)
						}
						got = append(got, bits(token))
					}
					if fmt.Sprint(got) != fmt.Sprint(want[i]) {
						t.Errorf("request %d:\n%v, not\n%v", i, got, want[i])
					}
				})
			}
			wait.Wait()
			stats := e.Stats()
			t.Logf("%+v", stats)
			if test.model == small {
				require.NotZero(t, stats.Preemptions)
			} else {
				require.Equal(t, test.o.NoPrefixCache, stats.PrefixHits == 0)
			}
			e.Close()
			require.Zero(t, test.model.Pool().InUse())
		})
	}
}

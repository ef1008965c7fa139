package explore

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"phi3/internal/engine"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/nexttoken"
	"phi3/internal/openai"
)

// A piece is the positions of the grid that the model computes in one step. The logits of all layers of a
// piece are in memory, because the rank of the answer after each layer needs the answer of the last layer.
const (
	mostPiece  = 32        // positions
	pieceBytes = 256 << 20 // of logits
	mostGrids  = 2         // that are computed at once, because of their memory; others wait
	lensTop    = 10        // tokens of a cell
)

// grid computes the logit lens of the last positions of a text. Three goroutines work on it:
//
//	the engine's ──logits of a layer──► count ──events──► the client's
//
// The engine's waits only until count has counted the piece before: 40 ms with a vocabulary of 49,152 on two
// cores, 350 ms with 200,064. It never waits for the client: there is room for all events.
type grid struct {
	from, end int // positions
	layers    int // with the embeddings
	vocab     int
	size      int // positions of a piece

	buffers [][]float32   // [layers][positions·vocab]: the logits of a piece
	free    chan struct{} // has an element while the buffers are free
	lens    chan lens
	events  chan LayersEvent
	begun   bool // the engine's goroutine has begun the first piece
}

// lens is the logits of a piece after a layer.
type lens struct {
	first  int // position
	layer  int
	logits []float32
}

func (e *Explorer) newGrid(from, end int) *grid {
	g := &grid{from: from, end: end, layers: e.Config.Layers + 1, vocab: e.Config.VocabSize}
	g.size = min(max(1, pieceBytes/(g.layers*g.vocab*4)), mostPiece)
	g.buffers, g.lens = make([][]float32, g.layers), make(chan lens, g.layers)
	g.free = make(chan struct{}, 1)
	g.free <- struct{}{}
	// A piece has at least one position, a row for each layer, and the answers.
	g.events = make(chan LayersEvent, 1+(end-from)*(g.layers+1))
	return g
}

// compute computes the grid of a text. All its goroutines have ended when it returns.
func (g *grid) compute(ctx context.Context, e *engine.Engine, ids []int32) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	counted := make(chan error, 1)
	go func() {
		err := g.count()
		if err != nil {
			cancel()
		}
		counted <- err
	}()
	request := engine.Request{IDs: ids, MaxNewTokens: 1, Watch: &engine.Watch{
		From: g.from, Tokens: g.size,
		Begin: func(m *model.Model, first int) (stop func()) { return g.begin(ctx, m, first) },
	}}
	var failed error
	for _, err := range e.Generate(ctx, request) {
		failed = err
	}
	close(g.lens)
	g.buffers = nil // the client may take its time for the events
	if err := <-counted; err != nil {
		return err
	}
	if failed != nil {
		return openai.AsError(failed)
	}
	return nil
}

// begin runs on the engine's goroutine before the step of a piece.
func (g *grid) begin(ctx context.Context, m *model.Model, first int) (stop func()) {
	if !g.begun {
		g.begun = true
		g.events <- LayersEvent{Start: &LayersStart{g.from, g.end - g.from, g.layers}}
	}
	select {
	case <-g.free:
	case <-ctx.Done(): // the engine ends the request
		return func() {}
	}
	return inspect.AfterLayers(m, func(layer int) (err error) {
		if g.buffers[layer], err = m.LensLogits(g.buffers[layer], true); err == nil {
			g.lens <- lens{first, layer, g.buffers[layer]}
		}
		return err
	})
}

// count makes the events of the logits.
func (g *grid) count() error {
	next := g.from // the first position that has no events yet
	var piece [][]nexttoken.Ranking
	for l := range g.lens {
		positions := len(l.logits) / g.vocab
		// The engine computes positions again if it has taken the blocks of the sequence for another one.
		again := min(max(0, next-l.first), positions)
		ranked, cells := g.rank(l.logits[again*g.vocab:])
		for i := range ranked {
			if !ranked[i].Finite() {
				return notFinite(l.layer)
			}
		}
		if l.layer == 0 {
			piece = piece[:0]
		}
		piece = append(piece, ranked)
		if len(cells) > 0 {
			g.events <- LayersEvent{Row: &LayerRow{l.layer, next, cells}}
		}
		if l.layer < g.layers-1 {
			continue
		}
		if len(cells) > 0 {
			g.events <- LayersEvent{Answer: &LayerAnswers{next, answers(piece)}}
		}
		next += len(cells)
		g.free <- struct{}{}
	}
	return nil
}

// notFinite is the error of a model whose numbers overflow.
func notFinite(layer int) error {
	message := nexttoken.NotFinite(layer).Error()
	return &openai.Error{
		Status: http.StatusInternalServerError, Type: "server_error", Code: new("internal_error"),
		Message: strings.ToUpper(message[:1]) + message[1:] + ". The checkpoint is damaged, or made for " +
			"wider numbers. phi3 generate says more.",
	}
}

// rank makes the cells of some positions.
func (g *grid) rank(logits []float32) ([]nexttoken.Ranking, []LensCell) {
	n := len(logits) / g.vocab
	ranked, cells := make([]nexttoken.Ranking, n), make([]LensCell, n)
	parallel(n, n, func(i int) {
		r := nexttoken.Rank(logits[i*g.vocab : (i+1)*g.vocab])
		if ranked[i] = r; !r.Finite() {
			return
		}
		cells[i] = LensCell{Entropy: r.Entropy()}
		for _, id := range r.First(lensTop) {
			cells[i].Top = append(cells[i].Top, LensToken{id, r.Logit(id), r.Probability(id)})
		}
	})
	return ranked, cells
}

// answers says how the answers of the last layer rise, given the rankings [layers][positions].
func answers(piece [][]nexttoken.Ranking) []LensAnswer {
	last := piece[len(piece)-1]
	all := make([]LensAnswer, len(last))
	parallel(len(last), len(last), func(i int) {
		a := LensAnswer{ID: last[i].First(1)[0]}
		for layer := range piece {
			r := &piece[layer][i]
			a.Ranks = append(a.Ranks, r.Of(a.ID))
			a.Probabilities = append(a.Probabilities, r.Probability(a.ID))
		}
		all[i] = a
	})
	return all
}

// parallel calls do with 0 … n-1, on as many goroutines as may run at once, and at most on most.
func parallel(n, most int, do func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, most, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	workers.Wait()
}

package explore

import "context"

// LayersRequest is the body of POST /explore/layers.
type LayersRequest struct {
	IDs []int32 `json:"ids"`
	// the first position to show; 0: all, but at most the last MaxPositions
	From int `json:"from"`
}

// LayersEvent is an event of the response. Exactly one of the groups of fields is set. The positions are
// computed in pieces, and each piece layer by layer, so the events of a piece are: a Row for each layer, then
// the Answers of the piece.
type LayersEvent struct {
	// The first event: the positions, and the layers of the grid, which begin with the embeddings (layer 0).
	Start *LayersStart `json:"start,omitempty"`
	// The tokens, by id, that the events after it mention and those before it have not.
	Tokens []Token       `json:"tokens,omitempty"`
	Row    *LayerRow     `json:"row,omitempty"`
	Answer *LayerAnswers `json:"answers,omitempty"`
	Done   bool          `json:"done,omitempty"`
}

// LayersStart says which grid follows.
type LayersStart struct {
	From      int `json:"from"`
	Positions int `json:"positions"`
	Layers    int `json:"layers"` // the rows of the grid: the model's layers and one for the embeddings
}

// LayerRow is a part of a row of the grid.
type LayerRow struct {
	Layer int        `json:"layer"` // 0: the embeddings
	From  int        `json:"from"`  // the position of the first cell
	Cells []LensCell `json:"cells"`
}

// LensCell is what the model would say after a position if it ended after a layer.
type LensCell struct {
	Top     []LensToken `json:"top"`     // the ten most probable tokens
	Entropy float64     `json:"entropy"` // of the distribution, in nats
}

// LensToken is a token with its numbers.
type LensToken struct {
	ID          int32   `json:"id"`
	Logit       float32 `json:"logit"`
	Probability float64 `json:"probability"`
}

// LayerAnswers says, for positions whose last layer is known, how the answer of the last layer rises.
type LayerAnswers struct {
	From    int          `json:"from"`
	Answers []LensAnswer `json:"positions"`
}

// LensAnswer is the token that the last layer finds most probable at a position.
type LensAnswer struct {
	ID            int32     `json:"id"`
	Ranks         []int     `json:"ranks"`         // [layers] 1 is the most probable
	Probabilities []float64 `json:"probabilities"` // [layers]
}

// Layers streams the logit lens of every layer and position.
func (e *Explorer) Layers(ctx context.Context, body []byte, events Events) error {
	r, err := e.parseLayers(body)
	if err != nil {
		return err
	}
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	leave, err := enter(ctx, e.grids)
	if err != nil {
		return err
	}
	g := e.newGrid(r.From, len(r.IDs))
	ended := make(chan error, 1)
	go func() {
		defer close(g.events)
		err := g.compute(ctx, e.Engine, r.IDs)
		leave() // also if the client is slow
		ended <- err
	}()
	known := map[int32]bool{}
	for event := range g.events {
		if err != nil {
			continue
		}
		if tokens := e.newTokens(&event, known); len(tokens) > 0 {
			err = events(LayersEvent{Tokens: tokens})
		}
		if err == nil {
			err = events(event)
		}
		if err != nil { // the client is gone; compute ends soon
			gone()
		}
	}
	if failed := <-ended; err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return events(LayersEvent{Done: true})
}

// newTokens returns the tokens that an event mentions and that are not known yet.
func (e *Explorer) newTokens(event *LayersEvent, known map[int32]bool) (tokens []Token) {
	mention := func(id int32) {
		if !known[id] {
			known[id] = true
			tokens = append(tokens, e.token(id))
		}
	}
	if event.Row != nil {
		for _, cell := range event.Row.Cells {
			for _, t := range cell.Top {
				mention(t.ID)
			}
		}
	}
	if event.Answer != nil {
		for _, answer := range event.Answer.Answers {
			mention(answer.ID)
		}
	}
	return tokens
}

package inspect

import (
	"context"
	"fmt"
	"math"
	"slices"

	"phi3/internal/model"
)

// CheckLogits returns an error if one of the logits [vocab] of the token after a text is NaN or infinite. The
// error says why; see [NotFinite].
func CheckLogits(ctx context.Context, m *model.Model, in model.Input, logits []float32) error {
	if id := FirstNotFinite(logits); id >= 0 {
		return TokenNotFinite(ctx, m, in, int32(id))
	}
	return nil
}

// TokenNotFinite calls [NotFinite] for the logit of a token after the text.
func TokenNotFinite(ctx context.Context, m *model.Model, in model.Input, id int32) error {
	return NotFinite(ctx, m, in, fmt.Sprintf("token %d after %d tokens", id, len(in.IDs)))
}

// FirstNotFinite returns the index of the first value that is NaN or infinite, -1 if there is none.
func FirstNotFinite(values []float32) int {
	return slices.IndexFunc(values, func(x float32) bool {
		return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0)
	})
}

// NotFinite returns the error for a logit that is NaN or infinite; of says which logit. The error names a
// weight of the checkpoint that is NaN or infinite. If there is none, NotFinite computes the text again, and
// the error names the layer in which the numbers overflow.
func NotFinite(ctx context.Context, m *model.Model, in model.Input, of string) error {
	err := fmt.Errorf("the logit of %s is NaN or infinite", of)
	if found := m.FindNotFinite(ctx); found != nil {
		return fmt.Errorf("%w: the checkpoint is damaged: %w", err, found)
	}
	where, failed := firstOverflow(ctx, m, in)
	if failed != nil {
		return failed
	}
	return fmt.Errorf("%w: no weight is, but the numbers overflow %s: the checkpoint is damaged, or made "+
		"for wider numbers", err, where)
}

// firstOverflow computes a text again and says where its residual stream becomes NaN or infinite.
func firstOverflow(ctx context.Context, m *model.Model, in model.Input) (where string, err error) {
	where = "after the last layer"
	found := false
	stop := EachLayer(m, func(layer int, x []float32) {
		if found || FirstNotFinite(x) < 0 {
			return
		}
		found = true
		if where = fmt.Sprintf("in layer %d", layer); layer == 0 {
			where = "in the embeddings"
		}
	})
	defer stop()
	in.Cache.Reset()
	in.Progress = nil
	_, err = m.Feed(ctx, in, nil)
	return where, err
}

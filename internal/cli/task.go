package cli

import (
	"context"
	"errors"
	"time"

	"phi3/internal/checkpoint"
	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

// task is a loaded model and a prompt that it understands: what generate and next-token both start from.
type task struct {
	checkpoint *checkpoint.Checkpoint
	model      *model.Model
	took       time.Duration // to load the model
	tokenizer  *tokenizer.Tokenizer
	text       string  // the prompt as the model sees it: with --chat, after the template
	ids        []int32 // the same as token ids, at least one
}

// openTask reads the prompt, which may fail quickly, before it loads the model, which may take long. early,
// if set, looks at the command's own texts before that too. The caller closes the task.
func openTask(
	ctx context.Context, s *streams, mf *modelFlags, pf *promptFlags, early func(*tokenizer.Tokenizer) error,
) (_ *task, err error) {
	prompt, err := pf.read(ctx, s)
	if err != nil {
		return nil, err
	}
	if prompt == "" {
		return nil, errors.New("the prompt is empty")
	}
	t := &task{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.checkpoint, err = mf.open(ctx, s); err != nil {
		return nil, err
	}
	if early != nil {
		if err := mf.checkHead(t.checkpoint); err != nil {
			return nil, err
		}
		// a tokenizer that cannot be loaded is an error after the weights, which may be to blame
		if tok, err := loadTokenizer(t.checkpoint); err == nil {
			if err := early(tok); err != nil {
				return nil, err
			}
		}
	}
	m, err := mf.load(ctx, s, t.checkpoint)
	if err != nil {
		return nil, err
	}
	t.model, t.took = m.Model, m.took
	if t.tokenizer, err = loadTokenizer(t.checkpoint); err != nil {
		return nil, err
	}
	if t.text, t.ids, err = pf.encode(ctx, t.tokenizer, prompt, 2*t.model.Context,
		t.model.Config.VocabSize); err != nil {
		return nil, tooLong(err, "prompt", t.model)
	}
	return t, nil
}

func (t *task) close() {
	if t.model != nil {
		_ = t.model.Close()
	}
	if t.checkpoint != nil {
		_ = t.checkpoint.Close()
	}
}

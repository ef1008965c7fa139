package cli

import (
	"context"
	"errors"
	"time"

	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

// task is a loaded model and a prompt that it understands: what generate and next-token both start from.
type task struct {
	model     *model.Model
	name      string        // of the model
	loaded    time.Duration // that loading the model took
	tokenizer *tokenizer.Tokenizer
	text      string  // the prompt as the model sees it: with --chat, after the template
	ids       []int32 // the same as token ids, at least one
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
	if early != nil {
		if err := mf.prepare(ctx, s); err != nil {
			return nil, err
		}
		if t, err := mf.tokenizer(); err == nil { // otherwise the weights may be to blame, which come first
			if err := early(t); err != nil {
				return nil, err
			}
		}
	}
	t := &task{}
	if t.model, t.name, t.loaded, err = mf.load(ctx, s); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.tokenizer, err = mf.tokenizer(); err != nil {
		return nil, err
	}
	if t.text, t.ids, err = pf.encode(ctx, t.tokenizer, prompt, 2*t.model.Context,
		t.model.Config.VocabSize); err != nil {
		return nil, tooLong(err, "prompt", t.model)
	}
	return t, nil
}

func (t *task) close() { _ = t.model.Close() }

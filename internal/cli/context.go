package cli

import (
	"errors"
	"fmt"
	"io"

	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// writeContext says how long the context is if memory shortened it.
func writeContext(w io.Writer, m *model.Model) {
	if m.FitIn == 0 {
		return
	}
	why := "the most that fits in " + show.Bytes(m.FitIn)
	if m.Short {
		why = fmt.Sprintf("the least, because the %s of free memory are too little for this model",
			show.Bytes(m.FitIn))
	}
	_, _ = show.Fprintf(w, "context: %s of %s tokens, %s (--ctx-size sets it)\n",
		show.Thousands(int64(m.Context)), show.Thousands(int64(m.Config.MaxPositions)), why)
}

// contextLimit follows a sentence about the end of the context. It says that memory sets that end, and is ""
// if something else does.
func contextLimit(m *model.Model) string {
	if m.FitIn == 0 {
		return ""
	}
	own := show.Thousands(int64(m.Config.MaxPositions))
	return fmt.Sprintf("; memory limits it, the model's own is %s (--ctx-size sets it)", own)
}

// explain adds to the error of a text that is too long what sets the end of the context.
func explain(err error, m *model.Model) error {
	if !errors.As(err, new(*model.TooLongError)) {
		return err
	}
	limit := contextLimit(m)
	if own := m.Config.MaxPositions; limit == "" && m.Context < own {
		limit = fmt.Sprintf("; --ctx-size set it, the model's own is %s", show.Thousands(int64(own)))
	}
	return fmt.Errorf("%w%s", err, limit)
}

// tooLong turns the error of a text whose encoding stopped at a number of tokens into the error of a text
// that is too long for the context.
func tooLong(err error, text string, m *model.Model) error {
	if many := new(*tokenizer.TooManyError); errors.As(err, many) {
		err = &model.TooLongError{Text: text, Tokens: (*many).Max, More: true, Context: m.Context}
	}
	return explain(err, m)
}

func (f *modelFlags) warnContext(w io.Writer, madeFor int) {
	if f.context > madeFor {
		_, _ = show.Fprintf(w, "warning: --ctx-size %d is more than the %d tokens this model was made for\n",
			f.context, madeFor)
	}
}

package perplexity

import "iter"

// window is a part of the text that the model reads from position 0: tokens [begin, end). It scores the
// tokens [first, end).
type window struct{ begin, first, end int }

// windows yields the windows of a text of n tokens. Each has at least one token to score, and one before it.
func windows(n, size, stride int) iter.Seq[window] {
	return func(yield func(window) bool) {
		scored := 0 // tokens before this one are scored, or have no context
		for begin := 0; scored < n; begin += stride {
			w := window{begin, max(scored, begin+1), min(begin+size, n)}
			scored = w.end
			if w.first < w.end && !yield(w) {
				return
			}
		}
	}
}

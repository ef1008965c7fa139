package model

import (
	"fmt"
	"strconv"
)

// Head is the kind of the checkpoint's last matrix product, which reads the last hidden state (spec
// section 6).
type Head int

// The heads, with the name of each architecture in config.json.
const (
	LMHead Head = iota // Phi3ForCausalLM: logits of the next token, from lm_head.weight
	// Phi3ForSequenceClassification: logits of the text's labels, from score.weight, at one position
	SequenceHead
	// Phi3ForTokenClassification: logits of each token's labels, from score.weight and score.bias
	TokenHead
)

var architectures = [...]string{
	"Phi3ForCausalLM", "Phi3ForSequenceClassification",
	"Phi3ForTokenClassification",
}

// String returns the name of the architecture.
func (h Head) String() string { return architectures[h] }

// HeadRows returns the number of logits at a position: one for every token of the vocabulary, or one for
// every label.
func (c *Config) HeadRows() int {
	if c.Head == LMHead {
		return c.VocabSize
	}
	return len(c.Labels)
}

// PooledPosition returns the position whose logits label the whole text [tokens], for a [SequenceHead].
// It is the position of the last token that is not padding, or 0 if all tokens are padding. Without a
// padding token it is the last position (transformers from 4.49 on, spec section 6).
func (c *Config) PooledPosition(ids []int32) int {
	for i := len(ids) - 1; i > 0; i-- {
		if ids[i] != c.Pad {
			return i
		}
	}
	return 0
}

// labels reads the names of a classification head's outputs. Without id2label they are LABEL_0, LABEL_1,
// …, as in transformers.
func (r *rawConfig) labels(c *Config) error {
	if c.Head == LMHead {
		return nil
	}
	const maxLabels = 1 << 16
	n := or(r.NumLabels, 2)
	if len(r.Labels) > 0 {
		n = len(r.Labels)
	}
	if n < 1 || n > maxLabels {
		return fmt.Errorf("num_labels is %d, not in 1 … %d", n, maxLabels)
	}
	c.Labels = make([]string, n)
	for i := range c.Labels {
		label, ok := r.Labels[strconv.Itoa(i)]
		switch {
		case len(r.Labels) == 0:
			label = fmt.Sprintf("LABEL_%d", i)
		case !ok:
			return fmt.Errorf("id2label has %d labels, but none for %d", n, i)
		}
		c.Labels[i] = fmt.Sprint(label)
	}
	switch c.ProblemType = r.ProblemType; c.ProblemType {
	case "", "regression", "single_label_classification", "multi_label_classification":
		return nil
	}
	return fmt.Errorf("problem_type is %q, not regression, single_label_classification or "+
		"multi_label_classification", c.ProblemType)
}

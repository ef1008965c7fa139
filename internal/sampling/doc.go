// Package sampling chooses the next token from a row of logits and the ids so far.
//
// [Greedy] chooses the most probable token. A [Sampler] follows a [Config], in the order and with the
// formulas of Hugging Face's generate (spec 4.3). The names in Config are those of generation_config.json:
//
//	logits ── logit bias ── repetition penalty ── frequency penalty, presence penalty
//	       ── no repeated n-gram ── bad words ── min length, min new tokens
//	       ── forced first or last token ── suppressed tokens ──┬── argmax
//	          ┌──────────────────────── DoSample ───────────────┘
//	          └── temperature ── top-k ── top-p ── min-p ── typical-p ── draw
//
// Logit bias, frequency penalty and presence penalty are those of OpenAI's protocol, which generate does not
// have. Their place is the one that vLLM gives them: before the temperature, and for greedy texts too.
//
// [Trace] shows what each step leaves of the distribution.
//
// Each step works on the scores that the step before it left. A step at its neutral value is skipped, as in
// Hugging Face.
//
// Scores are float32, as in Hugging Face. Probabilities are float64, computed in one fixed order. The draw
// takes exactly one number from the sampler's own random stream for every token. So the chosen ids depend
// only on the logits, the Config and the seed. On one device, logits depend only on the ids, so the same seed
// gives the same text, with and without the KV cache, and on any number of threads.
//
// No step sorts the vocabulary. Top-k keeps a heap of k scores; top-p and typical-p work like quickselect,
// with the sum of probabilities in place of the rank. A Sampler allocates memory only for its first token.
package sampling

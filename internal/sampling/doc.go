// Package sampling turns logits into the next token's id. It knows nothing of models and texts: a row of
// logits and the ids so far come in, an id goes out.
//
// [Greedy] is the most probable token. A [Sampler] does what a [Config] says, in the order and with the
// formulas of Hugging Face's generate (spec 4.3); the names in Config are those of its GenerationConfig and
// of generation_config.json:
//
//	logits ── repetition penalty ── no repeated n-gram ── bad words ── min length, min new tokens
//	       ── forced first or last token ── suppressed tokens ──┬── argmax
//	                                                            │ DoSample
//	                                                            └── temperature ── top-k ── top-p ── min-p ── typical-p ── draw
//
// Each step sees what the one before it left. Steps at their neutral value are skipped, as there.
//
// Scores are float32, as in Hugging Face; probabilities are float64, computed in one fixed order. The draw
// takes exactly one number from the sampler's own random stream for every token. So the ids are a function of
// the logits, the Config and the seed alone; and since logits are a function of the ids alone, the same seed
// gives the same text, with the KV cache and without it, on any number of threads.
//
// Nothing sorts a vocabulary: top-k keeps a heap of k, top-p and typical-p select like quickselect does, by
// probability instead of rank. After its first token a Sampler allocates nothing.
package sampling

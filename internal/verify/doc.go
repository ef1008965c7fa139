// Package verify compares a checkpoint, as this program runs it, with numbers that others have published for
// it.
//
// # Fixtures
//
// A fixture (fixtures/*.json, embedded) is about checkpoints of one configuration. It holds their releases,
// because Microsoft has replaced weights under an old name, and for each release what is known of it: token
// ids of texts, logits of a strict float32 run, last hidden states of a bfloat16 run, greedy continuations.
// Every check names its source, most often a section of docs/phi3-spec.md. fixtures/demo.json is about the
// built-in model; there the source is Hugging Face transformers, through testdata/demo.
//
// # What Run does
//
//	load, float32 ──► which release?   the one whose logits are nearest; none, if none is near
//	      │           its float32 checks: logits within 1e-3, greedy text
//	      ▼
//	load, bfloat16 ─► its bfloat16 checks: hidden states, next token, greedy texts
//	      │
//	      ▼           and of any checkpoint, published numbers or not: the same bits with the KV cache and without it,
//	   Report         and bfloat16 near to float32
//
// The two runs matter, because a bfloat16 run cannot tell a mistake from a rounding: every layer rounds, and
// two correct programs differ by a few percent of a row. In float32, weights are the same 16-bit numbers but
// nothing else is rounded, so the published logits must come out to four digits, and a wrong mask, head or
// rotation cannot hide. The bfloat16 run is what people use, so it is compared with what they see.
//
// A greedy text is followed along the expected ids, one decode step at a time, and at each the choice is
// compared. As logits are a function of the ids alone, all choices agree exactly if generating would give
// this text. Where one differs, the distance counts by which the model preferred its own choice: another
// correct program may well fall on the other side of a near tie. Tolerances are in compare.go, with their
// reasons.
package verify

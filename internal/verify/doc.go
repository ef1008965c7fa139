// Package verify compares a checkpoint, as this program runs it, with published numbers, and with itself.
//
// # Fixtures
//
// A fixture (fixtures/*.json, embedded) is about the checkpoints of one configuration. Microsoft has replaced
// weights under an old name, so a fixture lists releases. For each release it holds what is known: token ids
// of texts, logits of a strict float32 run, last hidden states of a bfloat16 run, and greedy continuations.
// Every check names its source, most often a section of docs/phi3-spec.md. fixtures/demo.json is about the
// built-in model; its source is Hugging Face transformers, through testdata/demo.
//
// # What Run does
//
//	load, float32 ──► which release?   the one whose logits are nearest; none, if none is near
//	      │           its float32 checks: logits within 1e-3, greedy text
//	      ▼
//	load, bfloat16 ─► its bfloat16 checks: hidden states, next token, greedy texts
//	      │
//	      ▼           and for any checkpoint: the same bits with the KV cache and without it,
//	   Report         and bfloat16 near to float32
//
// Both runs are needed. In bfloat16 every layer rounds, and two correct programs differ by a few percent of a
// row, so a small mistake looks like a rounding. In float32 the weights are the same 16-bit numbers and
// nothing else is rounded, so the logits must agree with the published ones to four digits, and a wrong mask,
// head or rotation is visible. The bfloat16 run is the one that people use.
//
// For a greedy text, the expected ids are fed one by one, and the model's choice is compared at each. Logits
// depend on the ids alone, so all choices agree exactly if the model would generate this text. Where a choice
// differs, its distance says by how much the model preferred it: in a near tie another correct program may
// choose differently. The tolerances and their reasons are in compare.go.
package verify

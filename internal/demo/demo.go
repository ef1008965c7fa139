// Package demo is the built-in checkpoint: a tiny but complete Phi-3. With it, a new user can generate text
// and the tests can run a whole model without a download.
//
// The files in checkpoint/ are those of any Hugging Face directory of a Phi3ForCausalLM: config.json,
// generation_config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json and two bfloat16
// safetensors shards with their index. The rest of the program reads them as it reads Microsoft's.
//
// train.py trained it on sentences that corpus.py makes up: capitals, small sums, a few dozen facts, short
// letters. README.md says how, and how to train it again.
package demo

import (
	"embed"
	"fmt"
	"io/fs"
)

// Name is the name of the built-in checkpoint.
const Name = "phi3-demo"

// Description says which model answers. Print it with every answer of the built-in model.
const Description = "built-in demonstration model, trained on generated sentences; not Microsoft's Phi-3"

//go:embed checkpoint
var files embed.FS

// FS returns the checkpoint's files: open "config.json", not "checkpoint/config.json". It is read-only and
// part of the program, so it cannot be missing.
func FS() fs.FS {
	checkpoint, err := fs.Sub(files, "checkpoint")
	if err != nil { // only for an invalid path, and this one is constant
		panic(fmt.Sprintf("demo: %v", err))
	}
	return checkpoint
}

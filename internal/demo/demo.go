// Package demo carries the built-in checkpoint: a tiny but real Phi-3 that lets a newcomer see text within a
// minute of cloning, and lets every test run end to end without a download.
//
// The files in checkpoint/ are those of any Hugging Face directory of a Phi3ForCausalLM: config.json,
// generation_config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json and two bfloat16
// safetensors shards with their index. The rest of the program reads them as it would read Microsoft's.
//
// It is a demonstration. It was trained by train.py on sentences that corpus.py makes up: capitals, small
// sums, a few dozen facts, short letters. README.md tells how, and how to train it again.
package demo

import (
	"embed"
	"fmt"
	"io/fs"
)

// Name is what the program calls the built-in checkpoint.
const Name = "phi3-demo"

// Description is the one line that says which model answers; it belongs beside every answer the built-in
// model gives.
const Description = "built-in demonstration model, trained on generated sentences; not Microsoft's Phi-3"

//go:embed checkpoint
var files embed.FS

// FS returns the checkpoint's files, rooted at its directory: open "config.json", not
// "checkpoint/config.json". It is read-only and lives in the program's own image, so it cannot be missing.
func FS() fs.FS {
	checkpoint, err := fs.Sub(files, "checkpoint")
	if err != nil { // only for an invalid path, and this one is constant
		panic(fmt.Sprintf("demo: %v", err))
	}
	return checkpoint
}

// Package gguf reads and writes GGUF, the file format of llama.cpp and ggml, in which most quantized models
// are published.
//
// A file is four things in a row, all little-endian:
//
//	24 bytes    "GGUF", the version (3, or 2, which differs only in the number), how many tensors and keys
//	metadata    for each key: the key, the kind of its value, the value. A string is its length (8 bytes)
//	            and its bytes, an array the kind of its elements, their number and the elements
//	tensors     for each: its name, the number of dimensions, the dimensions (innermost first), the type,
//	            and the place of its bytes, counted from the start of the data
//	the data    the tensors' bytes, each at a multiple of general.alignment (32 if the file does not say)
//
// [Open] takes a file, or any part of a model that is split into several, as llama.cpp's gguf-split makes
// them. It reads the header and maps the data. The result is a checkpoint in the sense of the rest of the
// program: [Checkpoint] is a file system in which config.json, generation_config.json and the tokenizer's
// files are made from the metadata, and [Checkpoint.Weights] is the tensors under the names that Hugging
// Face gives them. [Write] writes a file, and never holds a whole tensor in memory.
//
// GGUF files are untrusted. Everything in the header is checked against the file's real size before use, by
// the rules of ggml (gguf.cpp) and a few stricter ones: strings are UTF-8, a bool is 0 or 1, a header has at
// most 100 MB. An error names the file, the key or tensor, and the reason.
package gguf

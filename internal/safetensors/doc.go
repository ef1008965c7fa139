// Package safetensors reads and writes the safetensors format, in which Hugging Face checkpoints keep their
// weights.
//
// A file is three things in a row:
//
//	8 bytes   N, the header's length in bytes (unsigned, little-endian)
//	N bytes   JSON, padded with spaces:
//	          {"name": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [0, 16]}, …}
//	the rest  the tensors' bytes, little-endian, row after row, without holes or overlaps;
//	          data_offsets count from here
//
// A large checkpoint is split into several such files (shards), with model.safetensors.index.json saying
// which tensor is in which.
//
// [Open] takes a whole checkpoint directory, [ReadFile] one file. Files of the operating system are
// memory-mapped: opening touches the header's pages only, so a 7.6 GB checkpoint opens in milliseconds and
// each weight is read from the disk when it is first used. Files of other file systems (embed.FS, for one)
// are read into memory. [Write] writes a file, and never holds a whole tensor in memory.
//
// Checkpoints are untrusted. Everything in the header is checked against the file's real size before use, by
// the rules of the reference implementation (github.com/huggingface/safetensors) and a few stricter ones: no
// duplicate JSON keys, no padding but spaces, at most 64 dimensions. An error names the file, the tensor and
// the reason.
package safetensors

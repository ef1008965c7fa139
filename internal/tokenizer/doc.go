// Package tokenizer turns text into a checkpoint's token ids and back.
package tokenizer

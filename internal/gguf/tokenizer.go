package gguf

// tokenizerFiles makes the tokenizer's files, by their names in a Hugging Face checkpoint, from the metadata.
func tokenizerFiles(*Metadata) (map[string][]byte, error) { return nil, nil }

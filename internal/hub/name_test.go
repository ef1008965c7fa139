package hub

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	h := &Hub{Endpoint: "https://mirror.example:8443"}
	for text, want := range map[string][2]string{
		"https://huggingface.co/microsoft/phi-4":                              {"microsoft/phi-4", ""},
		"http://HuggingFace.co/microsoft/phi-4/":                              {"microsoft/phi-4", ""},
		"https://www.huggingface.co/microsoft/phi-4?library=transformers#use": {"microsoft/phi-4", ""},
		"https://hf.co/microsoft/phi-4.git":                                   {"microsoft/phi-4", ""},
		"hf.co/microsoft/phi-4":                                               {"microsoft/phi-4", ""},
		"huggingface.co/microsoft/phi-4/tree/main":                            {"microsoft/phi-4", "main"},
		"https://huggingface.co/microsoft/phi-4/tree/refs%2Fpr%2F1": {
			"microsoft/phi-4",
			"refs/pr/1",
		},
		"https://huggingface.co/microsoft/phi-4/blob/main/config.json":  {"microsoft/phi-4", "main"},
		"https://huggingface.co/microsoft/phi-4/resolve/v1/config.json": {"microsoft/phi-4", "v1"},
		"https://huggingface.co/microsoft/phi-4/discussions/3":          {"microsoft/phi-4", ""},
		"https://mirror.example:8443/microsoft/phi-4":                   {"microsoft/phi-4", ""},
		"hf://microsoft/phi-4@v1":                                       {"microsoft/phi-4", "v1"},
		"microsoft/phi-4@main":                                          {"microsoft/phi-4", "main"},
		"microsoft/phi-4":                                               {},
		"microsoft/phi-4/":                                              {"microsoft/phi-4", ""},
		"microsoft/phi-4\n":                                             {"microsoft/phi-4", ""},
		"models--microsoft--phi-4":                                      {"microsoft/phi-4", ""},
		"models--microsoft--phi--4":                                     {},
		"phi-4@main":                                                    {},
		"https://huggingface.co/microsoft":                              {},
		"https://huggingface.co/datasets/a/b":                           {},
		"https://example.com/microsoft/phi-4":                           {},
		"ftp://huggingface.co/microsoft/phi-4":                          {},
		"https://huggingface.co/microsoft/phi-4/tree/%zz":               {},
		"https://huggingface.co/microsoft/phi-4/tree/..%2f..%2fx":       {},
		"hf.co/../etc":                                                  {},
		"":                                                              {},
	} {
		name, revision, ok := h.ParseAddress(text)
		require.Equal(t, want, [2]string{name, revision}, text)
		require.Equal(t, want[0] != "", ok, text)
	}
}

package hub

import (
	"path"
	"strings"
)

// ExampleName is the model that messages name as an example.
const ExampleName = "microsoft/Phi-3-mini-4k-instruct"

// published are Microsoft's models that phi3 runs. Of those that begin with the same words, the first is
// meant where only these words are given.
var published = []string{
	ExampleName, "microsoft/Phi-3-mini-128k-instruct",
	"microsoft/Phi-3-medium-4k-instruct", "microsoft/Phi-3-medium-128k-instruct",
	"microsoft/Phi-3.5-mini-instruct",
	"microsoft/phi-4",
	"microsoft/Phi-4-mini-instruct", "microsoft/Phi-4-mini-reasoning",
	"microsoft/Phi-4-reasoning", "microsoft/Phi-4-reasoning-plus",
}

// Published returns Microsoft's model for a name without an organization, or for a name that Ollama uses,
// such as phi3:14b. It returns "" for other names.
func Published(name string) string {
	plain := strings.NewReplacer("-", "", "_", "", ".", "", " ", "", ":", "")
	family, tag, _ := strings.Cut(strings.ToLower(name), ":")
	if !strings.HasPrefix(plain.Replace(family), "phi") {
		return ""
	}
	for _, size := range []struct{ tag, word string }{
		{"3.8b", "mini"},
		{"14b", "medium"},
		{"latest", ""},
		{"instruct", ""},
	} {
		if strings.HasPrefix(tag, size.tag) {
			tag = size.word
		}
	}
	for _, wanted := range []string{plain.Replace(family + tag), plain.Replace(family)} {
		if len(wanted) <= len("phi") {
			continue
		}
		for _, model := range published {
			if strings.HasPrefix(plain.Replace(strings.ToLower(path.Base(model))), wanted) {
				return model
			}
		}
	}
	return ""
}

package checkpoint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"phi3/internal/hub"
)

// meant guesses what a name that leads to nothing was meant for: the address of a page on the hub, a name
// with a revision, one of Ollama's names, a name without its organization, a path that a shell should have
// expanded. It returns the second half of a sentence, "" without a guess.
func meant(name string) string {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return ""
	}
	if model, revision, ok := h.ParseAddress(name); ok {
		if revision != "" {
			revision = " --revision " + revision
		}
		return "; for that model of the hub, say --model " + model + revision
	}
	switch {
	case name == "~" || strings.HasPrefix(name, "~/"):
		return "; the shell did not expand ~: write $HOME instead, or leave out the quotes"
	case strings.Contains(name, "://"):
		return "; --model takes no addresses but those of models on huggingface.co"
	case strings.ContainsAny(name, `/\`):
		return ""
	}
	if model := cachedModelNamed(h, name); model != "" {
		return "; in the cache there is " + model + ": say --model " + model
	}
	model := hub.Published(name)
	switch isOllama := strings.Contains(name, ":"); {
	case model == "" && isOllama:
		return "; a name with a colon is one of Ollama's, and phi3 takes those of the hub, such as " +
			hub.ExampleName
	case model == "":
		return ""
	case isOllama:
		return fmt.Sprintf("; what Ollama calls %s is %s on the hub: say --model %[2]s", name, model)
	}
	return fmt.Sprintf("; on the hub there is %s: say --model %[1]s", model)
}

// cachedModelNamed finds the model in the cache that has this name in any organization. It returns "" for
// none and for several.
func cachedModelNamed(h *hub.Hub, name string) (found string) {
	models, _ := h.Models()
	for _, m := range models {
		if !strings.EqualFold(path.Base(m.Name), name) || m.Name == found {
			continue
		}
		if found != "" {
			return ""
		}
		found = m.Name
	}
	return found
}

// notADirectory is the error for a file in the place of a checkpoint's directory.
func notADirectory(file string) error {
	return fmt.Errorf("%s is a file; --model takes the directory of a checkpoint, such as %s, or a GGUF "+
		"file, whose name ends in .gguf", file, filepath.Dir(file))
}

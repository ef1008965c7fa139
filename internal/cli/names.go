package cli

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"phi3/internal/checkpoint"
	"phi3/internal/demo"
	"phi3/internal/hub"
	"phi3/internal/show"
)

// published are Microsoft's models that phi3 runs. Of several with the same beginning, the one that is meant
// where only that is given comes first.
var published = []string{
	"microsoft/Phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-128k-instruct",
	"microsoft/Phi-3-medium-4k-instruct", "microsoft/Phi-3-medium-128k-instruct",
	"microsoft/Phi-3.5-mini-instruct",
	"microsoft/phi-4",
	"microsoft/Phi-4-mini-instruct", "microsoft/Phi-4-mini-reasoning",
	"microsoft/Phi-4-reasoning", "microsoft/Phi-4-reasoning-plus",
}

// meant guesses what a model's name that is none means: the address of the hub's page, a name with a
// revision, a name of Ollama's, a name without its organization, a path that a shell should have expanded. It
// is the second half of a sentence, "" where nothing comes to mind.
func meant(name string) string {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return ""
	}
	if model, revision, ok := h.ParseAddress(name); ok {
		return "; for that model of the hub, say --model " + model + revisionFlag(revision)
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
	model := publishedModel(name)
	switch isOllama := strings.Contains(name, ":"); {
	case model == "" && isOllama:
		return "; a name with a colon is one of Ollama's, and phi3 takes those of the hub, such as " +
			"microsoft/Phi-3-mini-4k-instruct"
	case model == "":
		return ""
	case isOllama:
		return fmt.Sprintf("; what Ollama calls %s is %s on the hub: say --model %[2]s", name, model)
	}
	return fmt.Sprintf("; on the hub there is %s: say --model %[1]s", model)
}

// offerCached names the model in the cache, where there is one and the demonstration runs: who has pulled it
// may expect it to answer.
func offerCached(stderr io.Writer) {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return
	}
	list, _ := listModels(h)
	found := ""
	for _, m := range list {
		switch {
		case !m.Runs || m.labels || m.Model == found:
		case found != "":
			return // which of them is meant cannot be known
		default:
			found = m.Model
		}
	}
	if found != "" {
		_, _ = show.Fprintf(stderr, "%s runs; --model %s, or %s=%[2]s in the environment, runs the model "+
			"in the cache\n", demo.Name, found, modelVariable)
	}
}

func revisionFlag(revision string) string {
	if revision == "" {
		return ""
	}
	return " --revision " + revision
}

// cachedModelNamed is the one model in the cache that has this name, whatever its organization; "" if none or
// several have.
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

// publishedModel is Microsoft's model that a name without an organization, or one of Ollama's such as
// phi3:14b, is for.
func publishedModel(name string) string {
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

// notADirectory is the refusal of a file in the place of a checkpoint's directory.
func notADirectory(file string) error {
	base := filepath.Base(file)
	if !strings.HasSuffix(strings.ToLower(base), ".gguf") {
		return fmt.Errorf("%s is a file; --model takes the directory of a checkpoint, such as %s",
			file, filepath.Dir(file))
	}
	from := "such as phi3 pull microsoft/Phi-3-mini-4k-instruct"
	for _, model := range published {
		if strings.HasPrefix(strings.ToLower(base), strings.ToLower(path.Base(model))) {
			from = "by phi3 pull " + model
		}
	}
	return fmt.Errorf("%s is a GGUF file, which llama.cpp reads; phi3 reads the Hugging Face checkpoint "+
		"that it was made from: download that, %s", file, from)
}

// isModelFolder tells whether a directory is a model's folder in a cache, above its snapshots.
func isModelFolder(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "snapshots"))
	return err == nil && info.IsDir() && strings.HasPrefix(filepath.Base(dir), checkpoint.ModelPrefix)
}

// hubName reads the name of a model on the hub from an argument: org/name, or the address of its page, with
// or without a revision.
func hubName(h *hub.Hub, argument string) (name, revision string, err error) {
	if hub.IsName(argument) {
		return argument, "", nil
	}
	if name, revision, ok := h.ParseAddress(argument); ok {
		return name, revision, nil
	}
	hint := "those look like microsoft/Phi-3-mini-4k-instruct"
	if model := publishedModel(argument); model != "" && !strings.ContainsAny(argument, `/\`) {
		hint = "do you mean " + model + "?"
	}
	return "", "", usagef("%q is not the name of a model; %s", argument, hint)
}

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/checkpoint"
	"phi3/internal/gguf"
	"phi3/internal/model"
	"phi3/internal/usage"
)

// completions tell the shell what the values of flags may be, by flag name.
var completions = map[string]cobra.CompletionFunc{
	"model":     completeModelFlag,
	"against":   completeModelFlag,
	"gguf":      completeGGUF,
	"attention": completeAttention,
	"device": usage.OneOf("auto\ta GPU with room for the model, else the CPU", "cpu",
		"cuda\tthe first NVIDIA GPU", "cuda:1\tthe second one"),
	"dtype":    usage.OneOf("bf16\tround matrix inputs to bfloat16", "f32\tround nothing"),
	"output":   usage.OneOf("md\ta table in Markdown", "csv", "json"),
	"weights":  completeWeights,
	"revision": usage.OneOf("main"),
	"log":      usage.OneOf("text", "json"),
}

// completeModelFlag offers the models in the cache, directories and GGUF files.
func completeModelFlag(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, _ := completeModels(cmd, nil, begun)
	if len(names) == 0 {
		// the shell handles ~ and blanks better; it also offers directories
		return []cobra.Completion{"gguf"}, cobra.ShellCompDirectiveFilterFileExt
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	folder, start := filepath.Split(begun)
	entries, _ := os.ReadDir(filepath.Join(".", folder))
	for _, e := range entries {
		switch {
		case !strings.HasPrefix(e.Name(), start) || start == "" && e.Name()[0] == '.':
		case e.IsDir():
			names = append(names, folder+e.Name()+"/")
			directive |= cobra.ShellCompDirectiveNoSpace // a path may continue below it
		case gguf.IsName(e.Name()):
			names = append(names, folder+e.Name())
		}
	}
	return names, directive
}

// completeGGUF offers the GGUF files of the model on the command line.
func completeGGUF(
	cmd *cobra.Command, args []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	r := checkpoint.Request{Name: os.Getenv(modelVariable)}
	if name, err := cmd.Flags().GetString("model"); err == nil && name != "" {
		r.Name = name
	}
	if len(args) > 0 { // of phi3 pull
		r.Name = args[0]
	}
	r.Revision, _ = cmd.Flags().GetString("revision")
	var offers []cobra.Completion
	for _, name := range r.Files() {
		if strings.HasPrefix(name, begun) {
			offers = append(offers, name)
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeAttention offers the layers of the model on the command line and, after a colon, the heads.
func completeAttention(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	f := modelFlags{flags: cmd.Flags()}
	f.name, _ = cmd.Flags().GetString("model")
	f.revision, _ = cmd.Flags().GetString("revision")
	f.file, _ = cmd.Flags().GetString("gguf")
	checkpoint, err := f.openCached()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = checkpoint.Close() }()
	config, err := model.ReadConfig(checkpoint.FS)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before, what, n := "", "layer", config.Layers
	if layer, _, colon := strings.Cut(begun, ":"); colon {
		before, what, n = layer+":", "head", config.Heads
	}
	const shown = 1000 // config.json may name any number
	var offers []cobra.Completion
	for i := range min(n, shown) {
		if offer := fmt.Sprintf("%s%d", before, i+1); strings.HasPrefix(offer, begun) {
			offers = append(offers, cobra.CompletionWithDesc(offer, fmt.Sprintf("%s %d of %d", what, i+1, n)))
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

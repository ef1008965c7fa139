package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/model"
	"phi3/internal/usage"
)

// completions tell the shell what the values of flags may be, by flag name.
var completions = map[string]cobra.CompletionFunc{
	"model":     completeModelFlag,
	"attention": completeAttention,
	"device": usage.OneOf("auto\ta GPU with room for the model, else the CPU", "cpu",
		"cuda\tthe first NVIDIA GPU", "cuda:1\tthe second one"),
	"dtype":    usage.OneOf("bf16\tround matrix inputs to bfloat16", "f32\tround nothing"),
	"output":   usage.OneOf("md\ta table in Markdown", "csv", "json"),
	"weights":  completeWeights,
	"revision": usage.OneOf("main"),
}

// completeModelFlag offers the models in the cache, and directories.
func completeModelFlag(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, _ := completeModels(cmd, nil, begun)
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs // the shell handles ~ and blanks better
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	folder, start := filepath.Split(begun)
	entries, _ := os.ReadDir(filepath.Join(".", folder))
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), start) && (start != "" || e.Name()[0] != '.') {
			names = append(names, folder+e.Name()+"/")
			directive |= cobra.ShellCompDirectiveNoSpace // a path may continue below it
		}
	}
	return names, directive
}

// completeAttention offers the layers of the model on the command line and, after a colon, the heads.
func completeAttention(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	f := modelFlags{flags: cmd.Flags()}
	f.name, _ = cmd.Flags().GetString("model")
	f.revision, _ = cmd.Flags().GetString("revision")
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

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phi3/internal/model"
)

// fileFlags take the name of a file, which the shell completes by itself.
var fileFlags = map[string]bool{
	"file": true, "classify jsonl": true, "svg": true, "plot": true,
	"chat-template": true,
}

// addCompletion adds the command that prints a shell's completion script.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Short = "Complete commands, flags and models in your shell"
			cmd.Long = `Print a script with which your shell completes phi3's commands, flags and values, the names of
downloaded models too. The help of each command below says where the script belongs.`
			cmd.Example = `  source <(phi3 completion bash)
  phi3 completion fish | source`
		}
	}
}

// completeFlags tells the shell what each flag's value may be. For those that are not listed here, numbers
// and texts, it offers nothing, and no files either.
func completeFlags(cmd *cobra.Command) {
	choices := map[string]cobra.CompletionFunc{
		"model":     completeModelFlag,
		"attention": completeAttention,
		"device": oneOf("auto\ta GPU with room for the model, else the CPU", "cpu",
			"cuda\tthe first NVIDIA GPU", "cuda:1\tthe second one"),
		"dtype":    oneOf("bf16\tround matrix inputs to bfloat16", "f32\tround nothing"),
		"output":   oneOf("md\ta table in Markdown", "csv", "json"),
		"revision": oneOf("main"),
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := choices[f.Name]
		switch {
		case f.Value.Type() == "bool", fileFlags[f.Name], fileFlags[cmd.Name()+" "+f.Name]:
			return
		case complete == nil:
			complete = cobra.NoFileCompletions
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // fails for a flag that has one
	})
	if cmd.Args != nil && cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions // the command takes no arguments
	}
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
}

// oneOf offers fixed values, each with what it means after a tab.
func oneOf(values ...cobra.Completion) cobra.CompletionFunc {
	return cobra.FixedCompletions(values,
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}

// completeModelFlag offers the models of the cache and directories.
func completeModelFlag(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, _ := completeModels(cmd, nil, begun)
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs // the shell knows best about ~ and blanks
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	folder, start := filepath.Split(begun)
	entries, _ := os.ReadDir(filepath.Join(".", folder))
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), start) && (start != "" || e.Name()[0] != '.') {
			names = append(names, folder+e.Name()+"/")
			directive |= cobra.ShellCompDirectiveNoSpace // one may go on below
		}
	}
	return names, directive
}

// completeAttention offers the layers of the model that the line names, and after a colon the heads.
func completeAttention(
	cmd *cobra.Command, _ []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	f := modelFlags{flags: cmd.Flags()}
	f.name, _ = cmd.Flags().GetString("model")
	f.revision, _ = cmd.Flags().GetString("revision")
	checkpoint, err := f.look()
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
	const shown = 1000 // configurations come from strangers
	var offers []cobra.Completion
	for i := range min(n, shown) {
		if offer := fmt.Sprintf("%s%d", before, i+1); strings.HasPrefix(offer, begun) {
			offers = append(offers, cobra.CompletionWithDesc(offer, fmt.Sprintf("%s %d of %d", what, i+1, n)))
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

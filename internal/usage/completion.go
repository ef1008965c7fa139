package usage

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// completeFlags tells the shell what each flag's value may be, by the flag's name. For flags without a choice
// it offers nothing, and no files.
func completeFlags(cmd *cobra.Command, choices map[string]cobra.CompletionFunc) {
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
		completeFlags(sub, choices)
	}
}

// OneOf offers fixed values, each with what it means after a tab.
func OneOf(values ...cobra.Completion) cobra.CompletionFunc {
	return cobra.FixedCompletions(values,
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}

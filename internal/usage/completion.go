package usage

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// fileFlags take the name of a file, which the shell completes without help.
var fileFlags = map[string]bool{
	"file": true, "classify jsonl": true, "svg": true, "plot": true,
	"chat-template": true, "batch out": true,
}

// addCompletion adds the command that prints the completion script of a shell.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Short = "Complete commands, flags and models in your shell"
			cmd.Long = `Print a script for your shell. With it, the shell completes phi3's commands, flags and
values, including the names of downloaded models. The help of each command below says
where to put the script.`
			cmd.Example = `  source <(phi3 completion bash)
  phi3 completion fish | source`
		}
	}
}

// completeFlags sets what the shell offers for the values of flags. For a flag that is not in choices, the
// shell offers nothing, except for fileFlags, for which it offers files.
func completeFlags(cmd *cobra.Command, choices map[string]cobra.CompletionFunc) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := choices[f.Name]
		switch {
		case f.Value.Type() == "bool", fileFlags[f.Name], fileFlags[cmd.Name()+" "+f.Name]:
			return
		case complete == nil:
			complete = cobra.NoFileCompletions
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // fails for a flag that is complete already
	})
	if cmd.Args != nil && cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions // the command takes no arguments
	}
	for _, sub := range cmd.Commands() {
		completeFlags(sub, choices)
	}
}

// OneOf offers fixed values. A tab separates a value from its meaning.
func OneOf(values ...cobra.Completion) cobra.CompletionFunc {
	return cobra.FixedCompletions(values,
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}

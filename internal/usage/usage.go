// Package usage is the text of the command line: help pages, shell completion, and the wording of errors. It
// uses cobra and the names of phi3's commands and flags, but does not run the commands.
package usage

import (
	"io"

	"github.com/spf13/cobra"
)

// Install gives the root command the commands help and completion, and the pages, completions and errors of
// this package. Call it after all commands have been added. choices complete the values of flags, by flag
// name.
func Install(root *cobra.Command, choices map[string]cobra.CompletionFunc) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Args = unknownCommand
	root.SetFlagErrorFunc(flagMistake)
	root.SetHelpCommand(helpCommand())
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_, _ = io.WriteString(cmd.OutOrStdout(), Page(cmd))
	})
	addCompletion(root)
	completeFlags(root, choices)
}

// Unplaced returns what is missing on a command's page: a heading for a flag, or a word for its value.
func Unplaced(cmd *cobra.Command) (missing []string) {
	for _, g := range groupsOf(cmd) {
		for _, f := range g.flags {
			name := cmd.CommandPath() + " --" + f.Name
			if g.title == "" {
				missing = append(missing, name+" has no heading: add its name to flagGroups in usage/help.go")
			}
			if f.Value.Type() != "bool" && valueWord(f) == "" {
				missing = append(missing, name+" has no word for its value: put a word of its description "+
					"in backquotes, or add it to valueWords in usage/help.go")
			}
		}
	}
	return missing
}

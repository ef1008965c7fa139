// Package usage is how the command line reads: the pages of help, what a shell completes, and the words for
// mistakes. It knows cobra and the names of phi3's flags, and no command.
package usage

import (
	"io"

	"github.com/spf13/cobra"
)

// Install gives the program's root command, which has all its commands, the commands help and completion,
// and the pages, completions and errors of this package. choices complete the values of flags, by their
// names.
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

// Unplaced returns what is missing for a command's flags on its page: a heading, or a word for a value.
func Unplaced(cmd *cobra.Command) (missing []string) {
	for _, g := range groupsOf(cmd) {
		for _, f := range g.flags {
			if g.title == "" {
				missing = append(missing, cmd.CommandPath()+" --"+f.Name+
					" has no heading: add its name to flagGroups in internal/usage/help.go")
			}
			if f.Value.Type() != "bool" && valueWord(f) == "" {
				missing = append(missing, cmd.CommandPath()+" --"+f.Name+" has no word for its value: "+
					"put a word of its description in backquotes, or add it to valueWords in internal/usage/help.go")
			}
		}
	}
	return missing
}

package usage

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phi3/internal/show"
)

// Width is the longest line of a page, in columns.
const Width = 80

// flagGroups lists the headings of a page, and the flags under each, in the order in which the page shows
// them. A name with a command in front is that command's flag, where two commands use one name for different
// things.
var flagGroups = []struct {
	title string
	flags []string
}{
	{"Prompt", []string{
		"prompt", "text", "file", "classify jsonl", "chat", "system", "chat-template", "template-var",
		"no-special", "decode",
	}},
	{"Model", []string{"model", "gguf", "revision", "weights", "ctx-size", "against"}},
	{"Device", []string{"device", "threads", "dtype", "batch parallel"}},
	{"Server", []string{
		"host", "port", "api-key", "cors-origin", "parallel", "queue", "max-step", "drain", "log",
		"log-prompts", "no-browser",
	}},
	{"Sampling", []string{
		"do-sample", "temperature", "top-k", "top-p", "min-p", "typical-p", "seed", "num-return-sequences",
		"repetition-penalty", "no-repeat-ngram",
	}},
	{"Length", []string{"max-new-tokens", "min-new-tokens", "stop", "ignore-eos"}},
	{"Measurement", []string{
		"n-prompt", "n-gen", "repetitions", "stride", "max-tokens", "bench no-cache", "no-probe",
	}},
	{"Looking inside", []string{"top", "token", "layers", "every", "attention", "hidden-states", "logprobs"}},
	{"Output", []string{
		"echo", "json", "jsonl", "output", "svg", "plot", "timings", "no-descriptions", "out", "force",
	}},
	{"Debugging", []string{"no-cache", "sliding-window-compat"}},
	{"General", []string{"yes", "quiet", "verbose", "help", "version"}},
}

// valueWords are the words for the values of flags. A flag that is not listed here has its word in backquotes
// in its description.
var valueWords = map[string]string{
	"prompt": "TEXT", "text": "TEXT", "system": "TEXT", "revision": "NAME", "model": "MODEL",
	"ctx-size": "TOKENS", "device": "DEVICE", "threads": "N", "dtype": "TYPE",
	"weights":     "TYPE",
	"temperature": "T", "seed": "N", "num-return-sequences": "N", "repetition-penalty": "FACTOR",
	"max-new-tokens": "N", "min-new-tokens": "N", "n-prompt": "TOKENS", "n-gen": "TOKENS",
	"repetitions": "N", "top": "N", "output": "FORMAT",
	"parallel": "N", "queue": "N", "drain": "TIME", "log": "FORMAT",
}

// Page returns the help of a command: what --help prints.
func Page(cmd *cobra.Command) string {
	var b strings.Builder
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	b.WriteString(reflow(about) + "\n\nUsage:\n")
	if cmd.Runnable() {
		b.WriteString("  " + cmd.UseLine() + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.CommandPath() + " COMMAND\n")
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n" + cmd.Example + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				entry(&b, fmt.Sprintf("  %-12s", sub.Name()), 16, sub.Short)
			}
		}
	}
	for _, g := range groupsOf(cmd) {
		show.Fprintf(&b, "\n%s:\n", g.title)
		for _, f := range g.flags {
			left, about := describeFlag(f)
			entry(&b, left, 30, about)
		}
	}
	if cmd.HasAvailableSubCommands() {
		show.Fprintf(&b, "\nRun '%s COMMAND --help' for more about a command.\n", cmd.CommandPath())
	}
	return b.String()
}

type flagGroup struct {
	title string
	flags []*pflag.Flag
}

// groupsOf returns the flags that a command's page shows. Flags that flagGroups does not list come last,
// without a title.
func groupsOf(cmd *cobra.Command) (groups []flagGroup) {
	cmd.InitDefaultHelpFlag()
	cmd.InheritedFlags() // adds them to the command's own flags
	left := map[string]*pflag.Flag{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			left[f.Name] = f
		}
	})
	special := map[string]bool{} // flags that have this command in front of their name in flagGroups
	for _, g := range flagGroups {
		for _, name := range g.flags {
			if command, flag, ok := strings.Cut(name, " "); ok && command == cmd.Name() {
				special[flag] = true
			}
		}
	}
	for _, g := range flagGroups {
		group := flagGroup{title: g.title}
		for _, name := range g.flags {
			command, flag, own := strings.Cut(name, " ")
			if !own {
				flag = name
			}
			if f := left[flag]; f != nil && (own && command == cmd.Name() || !own && !special[name]) {
				group.flags = append(group.flags, f)
				delete(left, flag)
			}
		}
		if len(group.flags) > 0 {
			groups = append(groups, group)
		}
	}
	if len(left) > 0 {
		rest := flagGroup{}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if left[f.Name] != nil {
				rest.flags = append(rest.flags, f)
			}
		})
		groups = append(groups, rest)
	}
	return groups
}

// valueWord returns the word for a flag's value, "" for a flag that takes none, such as --json.
func valueWord(f *pflag.Flag) string {
	if f.Value.Type() == "bool" {
		return ""
	}
	if word := valueWords[f.Name]; word != "" {
		return word
	}
	if _, rest, ok := strings.Cut(f.Usage, "`"); ok {
		if word, _, ok := strings.Cut(rest, "`"); ok {
			return strings.ToUpper(word)
		}
	}
	return ""
}

// describeFlag returns " -c, --ctx-size TOKENS", and what the flag means. It leaves out a default that a user
// could not give, such as -1.
func describeFlag(f *pflag.Flag) (left, about string) {
	left = "      --" + f.Name
	if f.Shorthand != "" {
		left = "  -" + f.Shorthand + ", --" + f.Name
	}
	about = f.Usage
	if word := valueWord(f); word != "" {
		left += " " + word
		if valueWords[f.Name] == "" {
			before, rest, _ := strings.Cut(about, "`")
			_, after, _ := strings.Cut(rest, "`")
			about = before + word + after
		}
	}
	about = strings.ReplaceAll(about, "`", "")
	switch d := f.DefValue; {
	case d == "", d == "0", d == "false", d == "[]", strings.HasPrefix(d, "-"), strings.Contains(about,
		"(default"):
	default:
		about += " (default\u00a0" + d + ")"
	}
	return left, about
}

// entry writes a name, and its meaning in lines that start at the given column.
func entry(b *strings.Builder, name string, column int, about string) {
	b.WriteString(name)
	at := utf8.RuneCountInString(name)
	for _, line := range wrap(about, Width-column) {
		if at > column-2 {
			b.WriteString("\n")
			at = 0
		}
		b.WriteString(strings.Repeat(" ", column-at) + line)
		at = Width // the next line starts a new one
	}
	b.WriteString("\n")
}

// reflow breaks paragraphs into lines of at most [Width] columns. It keeps lines that begin with a blank.
func reflow(text string) string {
	var lines, words []string
	flush := func() {
		if len(words) > 0 {
			lines = append(lines, wrap(strings.Join(words, " "), Width)...)
			words = nil
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\t", "  ")), "\n") {
		if line != "" && line[0] != ' ' {
			words = append(words, line)
			continue
		}
		flush()
		lines = append(lines, line)
	}
	flush()
	return strings.Join(lines, "\n")
}

// wrap breaks a text into lines of at most width columns. It breaks at spaces, but not at no-break spaces.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' }) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += strings.ReplaceAll(word, "\u00a0", " ")
	}
	return append(lines, line)
}

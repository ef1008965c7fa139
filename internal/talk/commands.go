package talk

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"phi3/internal/show"
	"phi3/internal/spell"
	"phi3/internal/text"
)

var errLeave = errors.New("leave")

const chatHelp = `/clear         start a new conversation; the system message stays
/forget [N]    drop the oldest question and its answer, or the N oldest
/system TEXT   set the system message, and keep the conversation; without TEXT show it,
               with - remove it
/regen         answer the last question again
/save FILE     write the conversation as JSON; /save! replaces a file
/load FILE     continue a conversation that was saved
/stats         tokens, times, seed
/exit          leave, as Ctrl-D does
//…            a message that begins with a slash
Ctrl-C stops an answer. Several lines: paste them, write them between lines of """,
or end a line with a backslash. Up and down recall what was typed.
`

// chatCommands are the names that nearCommand suggests.
var chatCommands = []string{"help", "clear", "forget", "system", "regen", "save", "load", "stats", "exit"}

// command runs a command, without its slash.
func (t *Talk) command(ctx context.Context, command string) error {
	name, argument, _ := strings.Cut(strings.TrimSpace(command), " ")
	argument = strings.TrimSpace(argument)
	switch name {
	case "help", "?":
		_, _ = io.WriteString(t.Out, chatHelp)
	case "exit", "quit", "bye":
		return errLeave
	case "clear":
		t.Clear()
		t.note("A new conversation.")
	case "system":
		switch argument {
		case "":
			if t.System() == "" {
				t.note("There is no system message.")
			} else {
				_, _ = io.WriteString(t.Out, t.System()+"\n")
			}
		case "-":
			t.SetSystem("")
			t.note("The system message is removed.")
		default:
			t.SetSystem(argument)
			t.note("The system message is set.")
			if t.Codec.DropsSystem(ctx, argument) {
				t.note("Note: %s.", text.SystemDropped)
			}
		}
	case "regen":
		if !t.Sampling.DoSample && t.last != nil {
			t.note("Greedy: the same question gets the same answer. Start phi3 chat with --temperature for " +
				"other answers.")
		}
		return t.respond(ctx, t.Again)
	case "forget":
		t.forget(ctx, argument)
	case "save", "save!", "load":
		t.file(name, argument)
	case "stats":
		t.stats()
	default:
		t.note("There is no command /%s%s; /help lists them.", show.Clip(name, 80), nearCommand(name))
	}
	return nil
}

// nearCommand asks whether the nearest command was meant; "" if none is near.
func nearCommand(word string) string {
	best, distance := "", 3 // a larger distance makes another word
	for _, name := range chatCommands {
		if d := spell.Distance(word, name); d < distance && d < len(name) {
			best, distance = name, d
		}
	}
	if best == "" || len(word) > 20 {
		return ""
	}
	return "; did you mean /" + best + "?"
}

// file saves or loads the conversation.
func (t *Talk) file(command, file string) {
	if file == "" {
		t.note("/%s needs the name of a file.", command)
		return
	}
	file = withHome(file)
	done := "Saved"
	var err error
	if command == "load" {
		done = "Loaded"
		err = t.load(file)
	} else {
		err = t.save(file, command == "save!")
	}
	if err != nil {
		t.note("/%s: %v.", command, err)
		return
	}
	t.note("%s: %d messages.", done, len(t.Messages()))
}

// forget drops the oldest question, or the number of them that the argument says.
func (t *Talk) forget(ctx context.Context, argument string) {
	n, err := 1, error(nil)
	if argument != "" {
		n, err = strconv.Atoi(argument)
	}
	switch all := t.Questions(); {
	case err != nil || n < 1:
		t.note("/forget %s: give the number of questions to drop, 1 or more, or nothing to drop one.",
			show.Clip(argument, 80))
	case all == 0:
		t.note("There is nothing to forget.")
	case n > all:
		t.note("There are %d questions; /forget %[1]d drops them all.", all)
	default:
		freed, err := t.Frees(ctx, n)
		if err != nil {
			t.note("/forget: %v.", err)
			return
		}
		t.Forget(n)
		rest := " The rest is computed again with the next question."
		if n == all {
			rest = ""
		}
		t.note("Forgotten: %d of %d questions with their answers, %d tokens.%s", n, all, freed, rest)
	}
}

func (t *Talk) stats() {
	p := func(format string, args ...any) { _, _ = show.Fprintf(t.Out, format+"\n", args...) }
	p("model: %s on %s", t.Name, t.Model.Device())
	p("messages: %d; tokens: %d of %d", len(t.Messages()), t.Tokens(), t.Model.Context)
	if t.Sampling.DoSample {
		p("sampling, next seed %d", t.Seed)
	} else {
		p("greedy")
	}
	if t.last != nil {
		p("last answer: %s", t.last.Times(t.Loaded, t.last.Cached+t.last.Fed))
	}
}

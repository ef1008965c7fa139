package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"phi3/internal/model"
	"phi3/internal/verify"
)

type verifyFlags struct {
	model modelFlags
	json  bool
}

func newVerify(s *streams) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a checkpoint against published numbers",
		Long: `Run a checkpoint and compare what comes out with what has been published for it: token
ids, logits of a float32 run, hidden states, greedy texts. The weights' release is
recognised by its logits. Any checkpoint is also checked against itself. A check
that fails makes the command fail.

The model is loaded twice, to run in float32, which shows mistakes, and as usual in
bfloat16, which rounds; --dtype asks for one of the two.`,
		Example: `  phi3 verify
  phi3 verify --model ./Phi-3-mini-4k-instruct
  phi3 verify --model ./Phi-3-mini-4k-instruct --device cuda --dtype bf16 --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.registerModel(flags)
	f.model.registerDevice(flags)
	flags.StringVar(&f.model.dtype, "dtype", "", "run in bf16 or in f32 only (default: both)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object at the end instead of a table")
	return cmd
}

// verification is the answer of --json.
type verification struct {
	Model  string `json:"model"`
	Device string `json:"device"`
	*verify.Report
}

func (f *verifyFlags) run(ctx context.Context, s *streams) error {
	only := f.model.dtype
	if only == "" {
		f.model.dtype = "f32"
	}
	if err := f.model.check(); err != nil {
		return err
	}
	if err := f.model.download(ctx, s.notes()); err != nil {
		return err
	}
	_, fsys, err := f.model.checkpoint()
	if err != nil {
		return err
	}
	fixtures, err := verify.Fixtures()
	if err != nil {
		return err
	}
	f.model.context = verify.Context
	answer := verification{}
	o := verify.Options{
		Fixtures: fixtures, Checkpoint: fsys, DType: only,
		Open: func(ctx context.Context, float32 bool) (m *model.Model, err error) {
			if f.model.dtype = "bf16"; float32 {
				f.model.dtype = "f32"
			}
			if m, answer.Model, _, err = f.model.load(ctx, s); err == nil {
				answer.Device = m.Device()
			}
			return m, err
		},
	}
	if !f.json {
		o.OnResult = verifyTable(s.out)
	}
	if answer.Report, err = verify.Run(ctx, o); err != nil {
		return err
	}
	failed := 0
	for _, r := range answer.Results {
		if !r.Passed {
			failed++
		}
	}
	switch {
	case f.json:
		err = writeJSON(s.out, answer)
	case answer.Checkpoint == "":
		_, err = fmt.Fprintf(s.out, "\nNothing is published for checkpoints like this one: it was checked against itself alone.\n")
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, len(answer.Results))
	}
	return err
}

// verifyTable prints results as they come, a row each, and a line for each further distance. --json has what is cut off.
func verifyTable(w io.Writer) func(verify.Result) error {
	widths := verifyWidths(terminalWidth(w))
	print := func(columns ...string) error {
		var b strings.Builder
		for i, width := range widths {
			b.WriteString(fit(columns[i], width) + "  ")
		}
		_, err := fmt.Fprintln(w, strings.TrimRight(b.String()+columns[len(widths)], " "))
		return err
	}
	first := true
	return func(r verify.Result) error {
		if first {
			first = false
			if err := print("verdict", "check", "type", "expected", "got", "distance"); err != nil {
				return err
			}
		}
		verdict := "ok"
		if !r.Passed {
			verdict = "FAIL"
		}
		distance, further := "", r.Distance
		if len(further) > 0 {
			distance, further = further[0].String(), further[1:]
		}
		if err := print(verdict, fmt.Sprintf("%s (%s)", r.Check, r.Source), r.DType, r.Expected, r.Got, distance); err != nil {
			return err
		}
		for _, m := range further {
			if err := print("", "", "", "", "", m.String()); err != nil {
				return err
			}
		}
		return nil
	}
}

// verifyWidths are the widths of all columns but the last, so that a terminal's line, if there is one, has room for all.
func verifyWidths(terminal int) []int {
	const verdict, dtype, distance, gaps, least = 7, 4, 28, 5 * 2, 10
	check, value := 46, 28
	if room := terminal - verdict - dtype - distance - gaps; terminal > 0 && room < check+2*value {
		value = max(least, room*3/10)
		check = max(least, room-2*value)
	}
	return []int{verdict, check, dtype, value, value}
}

// terminalWidth is the number of columns of the terminal that w is, 0 if it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// fit makes a text as wide as a column, in one line.
func fit(text string, width int) string {
	text = strings.ReplaceAll(text, "\n", "↵")
	if n := utf8.RuneCountInString(text); n <= width {
		return text + strings.Repeat(" ", width-n)
	}
	return string([]rune(text)[:width-1]) + "…"
}

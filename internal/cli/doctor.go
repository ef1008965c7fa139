package cli

import (
	"io"

	"github.com/spf13/cobra"

	"phi3/internal/doctor"
	"phi3/internal/show"
	"phi3/internal/usage"
)

func newDoctor(s *streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine can do for phi3, and what is missing",
		Long: `Show the processor, the memory, the GPUs and the downloaded models of this machine, and
what phi3 can do with them. For each thing that is missing, give a hint. The command fails
only if something is broken. Run "phi3 verify" to check a GPU's results.`,
		Example: `  phi3 doctor`,
		Args:    usage.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			d := diagnosis{Version: version(), Findings: doctor.Findings(readMemory(), cudaDevices)}
			write := d.write
			if asJSON {
				write = func(w io.Writer) error { return show.WriteJSON(w, d) }
			}
			if err := write(s.out); err != nil {
				return err
			}
			return doctor.Verdict(d.Findings)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as one JSON object")
	return cmd
}

// diagnosis is the answer of --json.
type diagnosis struct {
	Version  string           `json:"version"`
	Findings []doctor.Finding `json:"findings"`
}

func (d *diagnosis) write(w io.Writer) error {
	var rows [][]string
	for _, f := range d.Findings {
		rows = append(rows, []string{string(f.Status), f.About, f.Found})
		if f.Hint != "" {
			rows = append(rows, []string{"", "", "→ " + f.Hint})
		}
	}
	_, err := io.WriteString(w, d.Version+"\n\n"+show.Table(rows))
	return err
}

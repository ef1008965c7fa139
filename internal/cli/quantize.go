package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/export"
	"phi3/internal/gguf"
	"phi3/internal/progress"
	"phi3/internal/quantize"
	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/usage"
	"phi3/internal/weight"
)

type quantizeFlags struct {
	model   modelFlags
	weights string
	out     string
	force   bool
	json    bool
}

// asStored is the value of --weights that changes no matrix.
const asStored = "stored"

func newQuantize(s *streams) *cobra.Command {
	var f quantizeFlags
	cmd := &cobra.Command{
		Use:   "quantize",
		Short: "Write a checkpoint as a smaller GGUF file",
		Long: `Quantize the weights of a checkpoint and write them into one GGUF file, with the
configuration, the tokenizer and the chat template. phi3 and llama.cpp run the file. phi3
computes the same logits with it, to the last bit, as with --weights on the checkpoint
itself, and starts much faster.

The types of --weights are those of llama.cpp. The embedding table and the LM head get
q6_k where the type is smaller than that. Matrices whose rows do not divide into the
type's blocks of 256 weights get a type with blocks of 32. With --weights stored, the
matrices keep the type that they have in the checkpoint, so llama.cpp's own tools can
quantize them.

phi3 writes one tensor at a time, so it needs little memory. The file gets its name when
it is complete.`,
		Example: `  phi3 quantize --model microsoft/Phi-3-mini-4k-instruct --weights q4_k \
      --out Phi-3-mini-4k-instruct-q4_k.gguf
  phi3 chat --model Phi-3-mini-4k-instruct-q4_k.gguf`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.registerModel(flags)
	flags.StringVar(&f.weights, "weights", "",
		"type of the matrices: "+listed(append(quantize.Names(), asStored)))
	flags.StringVar(&f.out, "out", "", "the GGUF `file` to write")
	flags.BoolVar(&f.force, "force", false, "replace the file if it exists")
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object")
	return cmd
}

func (f *quantizeFlags) run(ctx context.Context, s *streams) error {
	recipe, err := f.check()
	if err != nil {
		return err
	}
	c, err := f.model.openOrPull(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	plan, err := export.NewPlan(c.FS, c.Title, recipe)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	defer func() { _ = plan.Close() }()
	if free, ok := freeDisk(filepath.Dir(f.out)); ok && plan.Bytes() > free {
		return fmt.Errorf("%s needs %s, but %s are free on that disk", f.out, show.Bytes(plan.Bytes()),
			show.Bytes(free))
	}
	start := time.Now()
	bar := progress.Start(s.notes(), progress.Quantizing)
	err = plan.Write(ctx, f.out, bar.Update)
	bar.Stop()
	if err != nil {
		return fmt.Errorf("quantize %s: %w", c.Name, regular.Reason(err))
	}
	return f.report(s.out, plan, time.Since(start))
}

// check reads the flags. It returns nil for --weights stored.
func (f *quantizeFlags) check() (recipe *quantize.Recipe, err error) {
	if err := f.model.checkName(); err != nil {
		return nil, err
	}
	switch f.weights {
	case "":
		return nil, usage.Errorf("quantize needs --weights, the type of the matrices: %s",
			listed(append(quantize.Names(), asStored)))
	case asStored:
	default:
		if recipe, err = parseWeights(f.weights); err != nil {
			return nil, err
		}
	}
	switch {
	case f.out == "":
		return nil, usage.Errorf("quantize needs --out, the GGUF file to write")
	case !gguf.IsName(f.out):
		return nil, usage.Errorf("--out is %q; its name must end in .gguf", f.out)
	}
	return recipe, f.checkOut()
}

// checkOut returns an error if the file cannot be written.
func (f *quantizeFlags) checkOut() error {
	folder := filepath.Dir(f.out)
	info, err := os.Stat(f.out)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a directory, not a file", f.out)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", f.out)
	case err == nil && !f.force:
		return fmt.Errorf("%s exists already; --force replaces it", f.out)
	case err == nil:
		return nil
	case !regular.IsAbsent(err):
		return fmt.Errorf("%s: %w", f.out, regular.Reason(err))
	}
	switch info, err = os.Stat(folder); {
	case regular.IsAbsent(err):
		return fmt.Errorf("there is no directory %s", folder)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", folder)
	}
	return err
}

// quantized is the answer of --json.
type quantized struct {
	File          string          `json:"file"`
	Bytes         int64           `json:"bytes"` // of the file
	Weights       string          `json:"weights"`
	Seconds       float64         `json:"seconds"`
	BytesBefore   int64           `json:"weight_bytes_before"`
	BytesAfter    int64           `json:"weight_bytes"`
	BitsPerWeight float64         `json:"bits_per_weight"`
	Types         []quantizedType `json:"types"`
}

// quantizedType is the tensors that have one type in the checkpoint, and one in the file.
type quantizedType struct {
	From          string  `json:"from"`
	To            string  `json:"to"`
	Tensors       int     `json:"tensors"`
	Parameters    int64   `json:"parameters"`
	BytesBefore   int64   `json:"bytes_before"`
	Bytes         int64   `json:"bytes"`
	BitsPerWeight float64 `json:"bits_per_weight"`
}

// report says what was written.
func (f *quantizeFlags) report(w io.Writer, p *export.Plan, took time.Duration) error {
	info, err := os.Stat(f.out)
	if err != nil {
		return err
	}
	before, after := weight.Sum(p.Stored), weight.Sum(p.Made)
	answer := quantized{
		File: f.out, Bytes: info.Size(), Weights: f.weights, Seconds: took.Seconds(),
		BytesBefore: before.Bytes, BytesAfter: after.Bytes, BitsPerWeight: after.BitsPerWeight(),
	}
	for _, from := range weight.Totals(p.Stored) {
		var stored, made []*weight.Tensor // of this type
		for i, t := range p.Stored {
			if t.Format == from.Format {
				stored, made = append(stored, t), append(made, p.Made[i])
			}
		}
		for _, to := range weight.Totals(made) {
			t := quantizedType{
				From: from.Format.String(), To: to.Format.String(), Tensors: to.Tensors, Parameters: to.Elems,
				Bytes: to.Bytes, BitsPerWeight: to.BitsPerWeight(),
			}
			for i := range stored {
				if made[i].Format == to.Format {
					t.BytesBefore += stored[i].Bytes()
				}
			}
			answer.Types = append(answer.Types, t)
		}
	}
	if f.json {
		return show.WriteJSON(w, answer)
	}
	return answer.write(w)
}

// write prints a table: a row for each type, and their sum.
func (q *quantized) write(w io.Writer) error {
	rows := [][]string{{"from", "to", "tensors", "parameters", "before", "after", "bits a weight"}}
	sum := quantizedType{
		From: "all", BytesBefore: q.BytesBefore, Bytes: q.BytesAfter, BitsPerWeight: q.BitsPerWeight,
	}
	row := func(t quantizedType) {
		rows = append(rows, []string{
			t.From, t.To, fmt.Sprint(t.Tensors), show.Thousands(t.Parameters), show.Bytes(t.BytesBefore),
			show.Bytes(t.Bytes), fmt.Sprintf("%.4g", t.BitsPerWeight),
		})
	}
	for _, t := range q.Types {
		sum.Tensors, sum.Parameters = sum.Tensors+t.Tensors, sum.Parameters+t.Parameters
		row(t)
	}
	row(sum)
	_, err := io.WriteString(w, show.Table(rows, 2, 3, 4, 5, 6)+show.Sprintf("\nwrote %s: %s in %s\n", q.File,
		show.Bytes(q.Bytes), show.Duration(time.Duration(q.Seconds*float64(time.Second)))))
	return err
}

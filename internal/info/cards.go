package info

import (
	"errors"
	"strconv"
	"strings"

	"phi3/internal/cuda"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/show"
	"phi3/internal/weight"
)

// cards are the sizes of GPU memory that the table of cards has, in GiB, which dealers call GB.
var cards = []int{6, 8, 12, 16, 24}

// taken is the memory of a card that the driver, the CUDA context and a desktop are taken to need, in bytes.
const taken = 640 << 20

// proposed are the recipes that the table of cards has for a checkpoint that is not quantized.
var proposed = []string{"q8_0", "q6_k", "q5_k", "q4_k"}

// Cards says which context fits on GPUs of usual sizes.
type Cards struct {
	Memory []int    `json:"card_gib"`
	Usable []int64  `json:"usable"` // bytes of each
	Rows   []OnCard `json:"rows"`
}

// OnCard is the context that fits with one type of weights.
type OnCard struct {
	Weights       string  `json:"weights"` // the value of --weights; "" stands for as stored
	DType         string  `json:"dtype"`   // of most weights
	Bytes         int64   `json:"weight_bytes"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	Contexts      []int   `json:"contexts"` // tokens, for each card; 0: none fits
}

// newCards computes the table. name is the recipe that tensors have by now, "" if they are as stored.
func newCards(c *model.Config, tensors []*weight.Tensor, name string, o cuda.Options) (*Cards, error) {
	t := &Cards{Memory: cards}
	for _, size := range cards {
		t.Usable = append(t.Usable, int64(size)<<30-taken)
	}
	t.add(c, tensors, name, o)
	if name != "" || weight.Sum(tensors).Format.Quantized() {
		return t, nil
	}
	for _, name := range proposed {
		recipe, err := quantize.Parse(name)
		if err != nil {
			return nil, err
		}
		smaller, err := c.Quantized(tensors, recipe)
		if err != nil { // some of the tensors are quantized
			return t, nil //nolint:nilerr // the table then has only the checkpoint as it is stored
		}
		t.add(c, smaller, name, o)
	}
	return t, nil
}

func (t *Cards) add(c *model.Config, tensors []*weight.Tensor, name string, o cuda.Options) {
	sum := weight.Sum(tensors)
	row := OnCard{
		Weights: name, DType: sum.Format.String(), Bytes: sum.Bytes, BitsPerWeight: sum.BitsPerWeight(),
	}
	for _, usable := range t.Usable {
		fits := 0
		plan := model.NewPlan(c, tensors, model.Options{MaxTokens: cuda.MaxTokens})
		if err := cuda.Fit(plan, o, usable); !errors.As(err, new(*cuda.TooLittleError)) {
			fits = plan.Context
		}
		row.Contexts = append(row.Contexts, fits)
	}
	t.Rows = append(t.Rows, row)
}

// describe returns the table, and what it assumes.
func (t *Cards) describe() string {
	header := []string{"--weights", "bytes"}
	for _, size := range t.Memory {
		header = append(header, strconv.Itoa(size)+" GB")
	}
	rows, columns := [][]string{header}, []int{1}
	for i := range t.Memory {
		columns = append(columns, 2+i)
	}
	for _, r := range t.Rows {
		name := r.Weights
		if name == "" {
			name = "as stored"
		}
		row := []string{name, show.Bytes(r.Bytes)}
		for _, n := range r.Contexts {
			context := "–"
			if n > 0 {
				context = show.Thousands(int64(n))
			}
			row = append(row, context)
		}
		rows = append(rows, row)
	}
	var b strings.Builder
	b.WriteString("\nThe longest context, in tokens, that fits on a GPU of 6 to 24 GB:\n\n")
	b.WriteString(show.Table(rows, columns...))
	show.Fprintf(&b, "\nA card of N GB is taken to have N GiB, of which the driver and a desktop take "+
		"%d MiB.\nOf the rest, phi3 leaves a sixteenth free, up to 512 MiB, unless --ctx-size is given.\n"+
		"– means that fewer than 2,048 tokens fit.\n", taken>>20)
	return b.String()
}

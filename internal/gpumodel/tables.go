package gpumodel

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/model"
	"phi3/internal/randomckpt"
)

// Tables are the tables of docs/gpu-model.md, in the page's order.
var Tables = []struct {
	Name  string
	write func(*writer)
}{
	{"cards", (*writer).cards},
	{"decode", (*writer).decode},
	{"cures", (*writer).cures},
	{"weights", (*writer).weights},
	{"tokens", (*writer).tokens},
	{"targets", (*writer).targets},
	{"kernels", (*writer).kernels},
}

// WriteTable writes the table of that name as Markdown.
func WriteTable(to io.Writer, name string) error {
	c, err := PhiMini()
	if err != nil {
		return err
	}
	w := &writer{config: c}
	for _, t := range Tables {
		if t.Name == name {
			t.write(w)
		}
	}
	if w.err == nil {
		_, w.err = io.WriteString(to, w.String())
	}
	return w.err
}

// PhiMini is the configuration of Phi-3-mini with a context of 128K.
func PhiMini() (*model.Config, error) {
	text, _, err := randomckpt.Preset("phi-3-mini")
	if err != nil {
		return nil, err
	}
	c, err := model.ParseConfig(text)
	if err == nil {
		c.SlidingWindow = 0
	}
	return c, err
}

// writer writes tables. It keeps the first error.
type writer struct {
	strings.Builder
	config *model.Config
	err    error
}

func (w *writer) row(cells ...any) {
	for _, cell := range cells {
		if number, ok := cell.(float64); ok {
			cell = digits(number)
		}
		w.WriteString("| " + fmt.Sprint(cell) + " ")
	}
	w.WriteString("|\n")
}

func (w *writer) head(names ...any) {
	w.row(names...)
	w.WriteString(strings.Repeat("|---", len(names)) + "|\n")
}

// digits is a number with three significant digits, or all digits of its whole part.
func digits(x float64) string {
	switch {
	case x >= 999.5:
		n := int(x + 0.5)
		thousands := strconv.Itoa(n / 1000)
		if n >= 1e6 {
			thousands = digits(float64(n / 1000))
		}
		return fmt.Sprintf("%s,%03d", thousands, n%1000)
	case x >= 99.95:
		return fmt.Sprintf("%.0f", x)
	case x >= 9.995:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// step is a step of Phi-3-mini with these weights.
func (w *writer) step(weights string, cached, tokens int, cures Cures) Step {
	recipe, err := ParseWeights(weights)
	if w.err == nil {
		w.err = err
	}
	return Step{w.config, recipe, cached, tokens, cures}
}

func (w *writer) predict(c *Card, s Step) *Prediction {
	p, err := Predict(c, s)
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return &Prediction{Host: 1}
	}
	return p
}

func (w *writer) cards() {
	w.head("", "SMs", "MHz", "DRAM, GB/s", "fastest read, GB/s", "L2, MB", "L2 read, GB/s",
		"DRAM latency, µs", "L2 latency, µs", "mma, FMA a clock and SM", "dependent launch")
	for _, c := range Cards {
		overlap := "no"
		if c.Dependent {
			overlap = "yes"
		}
		w.row(c.Short, c.SMs, c.Clock, c.DRAM/1e3, c.ReadRate()/1e3, c.L2/(1<<20), c.L2Rate/1e3,
			c.Wait, c.Hit, c.FMAs, overlap)
	}
}

// share is the part of the fastest read's rate that a step reaches.
func share(c *Card, p *Prediction) string { return percent(p.Bytes / p.Total() / c.ReadRate()) }

func (w *writer) decode() {
	w.head("card", "cached tokens", "at most", "without B1 to B5", "of the fastest read", "with them",
		"of the fastest read")
	for i := range Cards {
		c := &Cards[i]
		for _, cached := range []int{100, 2000, 4000, 100000} {
			before := w.predict(c, w.step("bf16", cached, 1, None))
			after := w.predict(c, w.step("bf16", cached, 1, All))
			w.row(c.Short, digits(float64(cached)), c.ReadRate()*1e6/after.Bytes, before.Rate(1),
				share(c, before), after.Rate(1), share(c, after))
		}
	}
}

func (w *writer) cures() {
	w.head("card", "cached tokens", "none", "B1", "B2", "B3", "B4", "B1 and B4", "all")
	for i := range Cards {
		c := &Cards[i]
		for _, cached := range []int{100, 100000} {
			cells := []any{c.Short, digits(float64(cached))}
			for _, cures := range []Cures{
				None,
				{Prefetch: true},
				{Join: true},
				{Ahead: true},
				{Overlap: true},
				{Prefetch: true, Overlap: true},
				All,
			} {
				cells = append(cells, w.predict(c, w.step("bf16", cached, 1, cures)).Total())
			}
			w.row(cells...)
		}
	}
}

func (w *writer) weights() {
	w.head("card", "weights", "tokens/s", "times bf16", "of the fastest read", "bound, gate-up",
		"without B1 to B5", "times bf16")
	for i := range Cards {
		c := &Cards[i]
		var first, firstBefore float64
		for _, name := range []string{"bf16", "q8_0", "q6_k", "q4_k", "q4_0"} {
			after := w.predict(c, w.step(name, 100, 1, All))
			before := w.predict(c, w.step(name, 100, 1, None))
			if first == 0 {
				first, firstBefore = after.Rate(1), before.Rate(1)
			}
			w.row(c.Short, name, after.Rate(1), after.Rate(1)/first, share(c, after), bound(after),
				before.Rate(1), before.Rate(1)/firstBefore)
		}
	}
}

// bound is what limits the largest product of a layer.
func bound(p *Prediction) string {
	for _, k := range p.Kernels {
		if k.Name == "NormGateUp" {
			return k.Bound
		}
	}
	return ""
}

func (w *writer) tokens() {
	w.head("card", "tokens at once", "µs a step", "tokens/s", "times one", "bound, gate-up",
		"tokens/s without B1 to B5")
	for i := range Cards {
		c := &Cards[i]
		one := w.predict(c, w.step("bf16", 100, 1, All)).Rate(1)
		for _, n := range []int{1, 8, 16, 32, 64} {
			p := w.predict(c, w.step("bf16", 100, n, All))
			w.row(c.Short, n, p.Total(), p.Rate(n), p.Rate(n)/one, bound(p),
				w.predict(c, w.step("bf16", 100, n, None)).Rate(n))
		}
	}
}

// reaches says whether a prediction reaches its target.
func reaches(ok bool) string {
	if ok {
		return "within reach"
	}
	return "**out of reach**"
}

func (w *writer) targets() {
	w.head("target", "card", "predicted", "by the model")
	for _, t := range []struct {
		card   string
		cached int
		least  float64
	}{
		{"H100", 100, 0.9},
		{"H100", 4000, 0.9},
		{"H200", 100, 0.9},
		{"H200", 4000, 0.9},
		{"RTX 4090", 100, 0.92},
	} {
		c := Find(t.card)
		p := w.predict(c, w.step("bf16", t.cached, 1, All))
		reached := p.Bytes / p.Total() / c.ReadRate()
		w.row(fmt.Sprintf("bf16, %s cached: %s of the fastest read", digits(float64(t.cached)),
			percent(t.least)), t.card, fmt.Sprintf("%s, %s tokens/s", percent(reached), digits(p.Rate(1))),
			reaches(reached >= t.least))
	}
	for i := range Cards {
		c := &Cards[i]
		one := w.predict(c, w.step("bf16", 100, 1, All)).Rate(1)
		small := w.predict(c, w.step("q4_k", 100, 1, All))
		w.row("q4_k: 2.6 times bf16", c.Short, digits(small.Rate(1)/one), reaches(small.Rate(1) >= 2.6*one))
	}
	for i := range Cards {
		c := &Cards[i]
		for _, cached := range []int{100, 4000} {
			one := w.predict(c, w.step("bf16", cached, 1, All)).Rate(1)
			times := w.predict(c, w.step("bf16", cached, 8, All)).Rate(8) / one
			w.row(fmt.Sprintf("8 sequences, %s cached: 7.5 times one", digits(float64(cached))), c.Short,
				digits(times), reaches(times >= 7.5))
		}
	}
}

func (w *writer) kernels() {
	for i, cures := range []Cures{None, All} {
		if i > 0 {
			w.WriteString("\n")
		}
		w.Kernels(Find("H100"), w.step("bf16", 100, 1, cures))
	}
}

// Kernels writes the times of a step, kernel by kernel.
func (w *writer) Kernels(c *Card, s Step) {
	p := w.predict(c, s)
	w.head(fmt.Sprintf("%s, %s", c.Short, s.Cures), "launches", "MB", "waves", "lead", "fill", "stream",
		"tail", "µs", "GB/s", "bound")
	for _, k := range p.Kernels {
		w.row(k.Name, k.Count, k.Bytes/1e6, k.Waves, k.Lead, k.Fill, k.Stream, k.Tail, k.Total(),
			k.Bytes/k.Total()/1e3, k.Bound)
	}
	w.row("between two steps", 1, "", "", "", "", "", "", p.Host, "", "host")
	w.row("the step", "", p.Bytes/1e6, "", "", "", "", "", p.Total(), p.Bytes/p.Total()/1e3, "")
}

// WriteKernels writes the times of a step, kernel by kernel.
func WriteKernels(to io.Writer, c *Card, s Step) error {
	w := &writer{config: s.Config}
	w.Kernels(c, s)
	if w.err == nil {
		_, w.err = io.WriteString(to, w.String())
	}
	return w.err
}

// Update returns a page with its tables written again. Each stands between two comments:
//
//	<!-- gpu-model: NAME -->
//	<!-- end -->
func Update(page string) (string, error) {
	for _, t := range Tables {
		var table strings.Builder
		if err := WriteTable(&table, t.Name); err != nil {
			return "", err
		}
		start := fmt.Sprintf("<!-- gpu-model: %s -->\n", t.Name)
		before, rest, found := strings.Cut(page, start)
		_, after, ended := strings.Cut(rest, "<!-- end -->")
		if !found || !ended {
			return "", fmt.Errorf("the page has no place for the table %q", t.Name)
		}
		page = before + start + table.String() + "<!-- end -->" + after
	}
	return page, nil
}

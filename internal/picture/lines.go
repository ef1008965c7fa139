package picture

import (
	"fmt"

	"github.com/go-analyze/charts"
	"github.com/guptarohit/asciigraph"
)

// Line is values over consecutive whole numbers.
type Line struct {
	Name   string
	Values []float64
}

// Panel is a coordinate system with lines of equal length.
type Panel struct {
	Title string // what y is, with its unit
	X     string // what x is
	From  int    // x of the first values
	Lines []Line // the greatest first: the picture's scale follows it
}

// Panels draws panels side by side as an SVG.
func Panels(panels []Panel) ([]byte, error) {
	const width, height, edge = 560, 420, 16
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width * len(panels), Height: height})
	p.FilledRect(0, 0, width*len(panels), height, charts.ColorWhite, charts.ColorWhite, 0)
	for i, panel := range panels {
		box := charts.Box{Left: width*i + edge, Right: width*(i+1) - edge, Top: edge, Bottom: height - edge, IsSet: true}
		option := charts.NewLineChartOptionWithData(panel.values())
		option.Title.Text = panel.Title
		option.Legend.SeriesNames = panel.names()
		option.Legend.Offset = charts.OffsetStr{Left: charts.PositionRight}
		option.XAxis.Title = panel.X
		option.XAxis.LabelCount = 6
		option.XAxis.Labels = nil // the library has numbered the values from 1
		for j := range panel.Lines[0].Values {
			option.XAxis.Labels = append(option.XAxis.Labels, fmt.Sprint(panel.From+j))
		}
		option.YAxis[0].Min = charts.Ptr(0.0) // lengths must compare as the numbers do
		option.Symbol = charts.Symbol{Shape: charts.SymbolNone}
		option.LineStrokeWidth = 2.5
		if err := p.Child(charts.PainterBoxOption(box)).LineChart(option); err != nil {
			return nil, fmt.Errorf("draw %q: %w", panel.Title, err)
		}
	}
	return p.Bytes()
}

// Text draws a panel with characters, about 80 columns wide, for a terminal. Lines differ in their characters, not in colour.
func (p *Panel) Text() string {
	kinds := []string{"━", "•", "-"}
	options := []asciigraph.Option{
		asciigraph.Width(64), asciigraph.Height(12), asciigraph.LowerBound(0),
		asciigraph.XAxisRange(float64(p.From), float64(p.From+max(1, len(p.Lines[0].Values)-1))), asciigraph.XAxisTickCount(5),
		asciigraph.XAxisValueFormatter(func(x float64) string { return fmt.Sprintf("%.0f", x) }),
	}
	var sets []asciigraph.CharSet
	text := p.Title + "\n"
	for i, l := range p.Lines {
		set := asciigraph.DefaultCharSet
		if i > 0 {
			set = asciigraph.CreateCharSet(kinds[i])
		} else {
			kinds[0] = set.Horizontal
		}
		sets = append(sets, set)
		text += fmt.Sprintf("  %s %s\n", kinds[i], l.Name)
	}
	return text + asciigraph.PlotMany(p.values(), append(options, asciigraph.SeriesChars(sets...))...) + "\n" + fmt.Sprintf("%44s\n", p.X)
}

func (p *Panel) values() (values [][]float64) {
	for _, l := range p.Lines {
		values = append(values, l.Values)
	}
	return values
}

func (p *Panel) names() (names []string) {
	for _, l := range p.Lines {
		names = append(names, l.Name)
	}
	return names
}

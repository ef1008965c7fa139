package show

import "strings"

// Table writes rows of cells as columns with two blanks between them. The columns with the given numbers,
// from 0, are flush right; the others flush left. Every cell is one line, as [Line] makes it.
func Table(rows [][]string, right ...int) string {
	var widths []int
	lines := make([][]string, len(rows))
	for i, row := range rows {
		lines[i] = eachLine(row)
		for column, cell := range lines[i] {
			if column == len(widths) {
				widths = append(widths, 0)
			}
			widths[column] = max(widths[column], Width(cell))
		}
	}
	flushRight := make([]bool, len(widths))
	for _, column := range right {
		if column < len(widths) {
			flushRight[column] = true
		}
	}
	var b strings.Builder
	for _, row := range lines {
		var line strings.Builder
		for column, cell := range row {
			if column > 0 {
				line.WriteString("  ")
			}
			blanks := strings.Repeat(" ", widths[column]-Width(cell))
			if flushRight[column] {
				line.WriteString(blanks + cell)
			} else {
				line.WriteString(cell + blanks)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// Row writes cells as columns of fixed widths, for a table whose rows are printed one by one. It cuts cells
// that are too long, as [Fit] does. There may be one cell more than widths; this last column has any width.
func Row(widths []int, cells ...string) string {
	var b strings.Builder
	for i, width := range widths {
		b.WriteString(Fit(Line(cells[i]), width) + "  ")
	}
	return strings.TrimRight(b.String()+Line(cells[len(widths)]), " ") + "\n"
}

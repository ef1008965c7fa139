package gpumodel

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// kernelsPage is written by tools/kernel-table.
//
//go:embed kernels.md
var kernelsPage string

// evidence is what nvcc made of a kernel.
type evidence struct {
	blocks    int     // on a multiprocessor at once
	inFlight  float64 // bytes that these request ahead; 0: not a ring
	perWeight float64 // instructions of a thread for each weight
	// single is the share of a tile's instructions that a tile with one row group of quantized weights takes,
	// instead of two. 0: there are no such tiles.
	single float64
}

// groups reports whether blocks share row groups of 8 rows, as the decode kernels for quantized weights do,
// except gate_up, whose tile is a group of gates and that of their ups.
func (e evidence) groups() bool { return e.single > 0 }

// table has the evidence of an architecture's kernels.
var table = readTable(kernelsPage)

func readTable(page string) map[string]map[string]evidence {
	all, arch := map[string]map[string]evidence{}, ""
	var columns []string
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			arch, all[name] = name, map[string]evidence{}
			continue
		}
		if arch == "" || !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if strings.TrimSpace(cells[0]) == "kernel" {
			columns = cells
			continue
		}
		e := evidence{}
		for i, cell := range cells {
			value, _ := strconv.ParseFloat(strings.Trim(cell, " ≥–"), 64) // no figure: 0
			switch strings.TrimSpace(columns[i]) {
			case "blocks":
				e.blocks = int(value)
			case "in flight":
				e.inFlight = value * 1024
			case "a weight":
				e.perWeight = value
			case "loop":
				var two, mmas, one float64
				if n, _ := fmt.Sscanf(strings.TrimSpace(cell), "%f, %f; %f", &two, &mmas, &one); n == 3 {
					e.single = one / two
				}
			}
		}
		all[arch][strings.TrimSpace(cells[0])] = e
	}
	return all
}

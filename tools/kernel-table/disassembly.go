package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// resources is what one block of a kernel takes, by cuobjdump -res-usage.
type resources struct {
	registers int // for each thread
	shared    int // bytes of static shared memory
}

var (
	functionLine  = regexp.MustCompile(`^\s*Function\s*:?\s*([A-Za-z0-9_]+)`)
	resourcesLine = regexp.MustCompile(`\bREG:(\d+)\b.*\bSHARED:(\d+)\b`)
)

// readResources reads the output of cuobjdump -res-usage for one architecture.
func readResources(r io.Reader) (map[string]resources, error) {
	kernels, name := map[string]resources{}, ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := functionLine.FindStringSubmatch(lines.Text()); m != nil {
			name = m[1]
		} else if m := resourcesLine.FindStringSubmatch(lines.Text()); m != nil {
			kernels[name] = resources{number(m[1]), number(m[2])}
		}
	}
	if len(kernels) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("cuobjdump -res-usage names no kernel")
	}
	return kernels, lines.Err()
}

// instruction is a line of a disassembly.
type instruction struct {
	address int
	text    string // such as "@!P1 BRA 0x4b20"
}

var instructionLine = regexp.MustCompile(`^\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;`)

// readSASS reads the output of cuobjdump -sass for one architecture: the instructions of each kernel.
func readSASS(r io.Reader) (map[string][]instruction, error) {
	kernels, name := map[string][]instruction{}, ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if m := instructionLine.FindStringSubmatch(line); m != nil {
			address, err := strconv.ParseInt(m[1], 16, 0)
			if err != nil {
				return nil, err
			}
			kernels[name] = append(kernels[name], instruction{int(address), m[2]})
		} else if m := functionLine.FindStringSubmatch(line); m != nil {
			name = m[1]
		}
	}
	return kernels, lines.Err()
}

// loop is the instructions between the target of a backward branch and the branch itself.
type loop struct {
	first, last  int // indices
	instructions int
	mmas         int // tensor-core instructions among them
	// inner says that another loop is inside, without tensor-core instructions. It may repeat, so more
	// instructions are executed than counted.
	inner bool
}

var branch = regexp.MustCompile(`^(?:@!?U?P\w+ )?BRA(?:\.\w+)* .*?\b0x([0-9a-f]+)`)

// loops are the instructions that backward branches repeat.
func loops(code []instruction) []loop {
	at := make(map[int]int, len(code))
	mmas := make([]int, len(code)+1) // before instruction i
	for i, in := range code {
		at[in.address] = i
		mmas[i+1] = mmas[i]
		if strings.Contains(in.text, "HMMA.") {
			mmas[i+1]++
		}
	}
	var found []loop
	for i, in := range code {
		m := branch.FindStringSubmatch(in.text)
		if m == nil {
			continue
		}
		address, err := strconv.ParseInt(m[1], 16, 0)
		first, ok := at[int(address)]
		if err != nil || !ok || first >= i { // a branch to itself fills the space after a kernel
			continue
		}
		found = append(found, loop{
			first: first, last: i, instructions: i - first + 1, mmas: mmas[i+1] - mmas[first],
		})
	}
	return found
}

// mainLoop is the innermost loop with tensor-core instructions. Of several, it is the one with the most of
// them: compilers also make a shorter copy for what remains after the unrolled iterations.
func mainLoop(code []instruction) (main loop, ok bool) {
	all := loops(code)
	for i, l := range all {
		innermost := l.mmas > 0
		for j, other := range all {
			if i == j || other.first < l.first || other.last > l.last {
				continue
			}
			if other.mmas > 0 {
				innermost = false
			} else {
				l.inner = true
			}
		}
		if innermost && (!ok || l.mmas > main.mmas) {
			main, ok = l, true
		}
	}
	return main, ok
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

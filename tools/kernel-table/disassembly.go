package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
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

// loop is a loop of a kernel, from the target of a backward branch to the branch.
type loop struct {
	first, last  int // instructions
	instructions int // that an iteration executes, on its longest way
	mmas         int // tensor-core instructions among them
	// inner says that another loop is inside, without tensor-core instructions. It may repeat, so more
	// instructions are executed than counted.
	inner bool
}

func (l loop) inside(other loop) bool {
	return l.last-l.first < other.last-other.first && l.first >= other.first && l.last <= other.last
}

func isMMA(in instruction) bool { return strings.Contains(in.text, "HMMA.") }

func isCopy(in instruction) bool { return strings.Contains(in.text, "LDGSTS") }

var branch = regexp.MustCompile(`^(@!?U?P\w+ )?BRA(?:\.\w+)* (!?U?P\w+, )?.*?\b0x([0-9a-f]+)`)

// target is the index of the instruction that a branch jumps to. always: the branch has no condition.
func target(at map[int]int, in instruction) (to int, always, ok bool) {
	m := branch.FindStringSubmatch(in.text)
	if m == nil {
		return 0, false, false
	}
	address, err := strconv.ParseInt(m[3], 16, 0)
	to, ok = at[int(address)]
	return to, m[1] == "" && m[2] == "" && !strings.Contains(in.text, "BRA.DIV"), ok && err == nil
}

func addresses(code []instruction) map[int]int {
	at := make(map[int]int, len(code))
	for i, in := range code {
		at[in.address] = i
	}
	return at
}

// loops are the loops with an instruction of this kind.
func loops(code []instruction, kind func(instruction) bool) (found []loop) {
	at := addresses(code)
	for i, in := range code {
		// a branch to itself fills the space after a kernel
		first, _, ok := target(at, in)
		if ok && first < i && slices.ContainsFunc(code[first:i+1], kind) {
			found = append(found, loop{first: first, last: i})
		}
	}
	return found
}

// innermost leaves out the loops that have another one inside.
func innermost(all []loop) (found []loop) {
	for _, l := range all {
		if !slices.ContainsFunc(all, func(other loop) bool { return other.inside(l) }) {
			found = append(found, l)
		}
	}
	return found
}

// mainLoops are the innermost loops that multiply weights and request the next ones. If none does both, they
// are the innermost loops with tensor-core instructions.
func mainLoops(code []instruction) []loop {
	multiply := loops(code, isMMA)
	var both []loop
	for _, l := range multiply {
		if slices.ContainsFunc(code[l.first:l.last+1], isCopy) {
			both = append(both, l)
		}
	}
	if len(both) > 0 {
		return innermost(both)
	}
	return innermost(multiply)
}

// ways follows a loop from its first to its last instruction on all ways, without branches backward. It
// returns the most instructions of a way for each number of tensor-core instructions.
func ways(code []instruction, l loop) map[int]int {
	at := addresses(code)
	reached := make([]map[int]int, l.last+1) // before an instruction
	reach := func(i, mmas, instructions int) {
		if reached[i] == nil {
			reached[i] = map[int]int{}
		}
		reached[i][mmas] = max(reached[i][mmas], instructions)
	}
	reach(l.first, 0, 0)
	all := map[int]int{}
	for i := l.first; i <= l.last; i++ {
		to, always, jumps := target(at, code[i])
		for mmas, instructions := range reached[i] {
			instructions++
			if isMMA(code[i]) {
				mmas++
			}
			if i == l.last {
				all[mmas] = instructions
				continue
			}
			if jumps && to > i && to <= l.last {
				reach(to, mmas, instructions)
			}
			if jumps && to > l.first && to < i && reached[to] == nil {
				// A loop inside, which the compiler enters at its condition: it runs once.
				for m, n := range ways(code, loop{first: to, last: i}) {
					reach(i+1, mmas+m, instructions+n)
				}
			}
			if !jumps || !always {
				reach(i+1, mmas, instructions)
			}
		}
	}
	return all
}

// mostMMAs is the highest number of tensor-core instructions of a way, or -1 if there is no way.
func mostMMAs(ways map[int]int) int {
	most := -1
	for mmas := range ways {
		most = max(most, mmas)
	}
	return most
}

// iteration counts what an iteration of a loop executes. mmas, if not 0, is its number of tensor-core
// instructions: it chooses among the ways through the loop, or says how often a loop inside repeats.
func iteration(code []instruction, l loop, mmas int) (loop, error) {
	all := ways(code, l)
	if len(all) == 0 { // the loop leaves this range and comes back: count the range
		body := code[l.first : l.last+1]
		n := 0
		for _, in := range body {
			if isMMA(in) {
				n++
			}
		}
		all = map[int]int{n: len(body)}
	}
	most := mostMMAs(all)
	l.mmas = most
	if mmas != 0 && mmas < most {
		l.mmas = mmas
	}
	l.instructions = all[l.mmas]
	for _, other := range loops(code, func(instruction) bool { return true }) {
		if !other.inside(l) {
			continue
		}
		inside := ways(code, other)
		multiplies := mostMMAs(inside)
		if multiplies <= 0 {
			l.inner = l.inner || len(inside) > 0 // otherwise no way leads back
			continue
		}
		if times := mmas / multiplies; multiplies == most && times > 1 {
			l.instructions += (times - 1) * inside[multiplies]
			l.mmas = times * multiplies
		}
	}
	if l.instructions == 0 || mmas != 0 && l.mmas != mmas {
		return l, fmt.Errorf("no way through the loop at %#x has %d tensor-core instructions",
			code[l.first].address, mmas)
	}
	return l, nil
}

// mainLoop is the loop that computes a product. marks are constants of which one is in the loop, and none of
// others; of several such loops it is the one with the most tensor-core instructions, because compilers also
// make a shorter copy for what remains after unrolled iterations. Of two loops with equally many it is the
// longer one. short is then the shorter one: that for tiles with one row group of quantized weights.
func mainLoop(code []instruction, l *launch) (main, short loop, err error) {
	err = fmt.Errorf("no loop with tensor-core instructions%s", l.variant)
	for _, candidate := range mainLoops(code) {
		has := func(mark string) bool {
			return slices.ContainsFunc(code[candidate.first:candidate.last+1], func(in instruction) bool {
				return strings.Contains(in.text, " "+mark+",")
			})
		}
		if l.mark != "" && !has(l.mark) || slices.ContainsFunc(l.otherMarks, has) {
			continue
		}
		counted, e := iteration(code, candidate, l.loopMMAs)
		if e != nil {
			if main.mmas == 0 {
				err = e
			}
			continue
		}
		switch {
		case counted.mmas > main.mmas:
			main, short, err = counted, loop{}, nil
		case counted.mmas == main.mmas && counted.instructions > main.instructions:
			main, short = counted, main
		case counted.mmas == main.mmas:
			short = counted
		}
	}
	return main, short, err
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

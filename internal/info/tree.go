package info

import (
	"fmt"
	"strconv"
	"strings"

	"phi3/internal/show"
)

// module is a node of the tree that the dots in the names of tensors make: a tensor, or a group of tensors.
type module struct {
	name     string
	children []*module
	tensor   *Tensor // of a leaf
	repeats  int     // number of equal modules that this one stands for; 0: only itself
}

// tree returns a row for each module, with shape, parameters, bytes and type. Equal layers share one row.
func (i *Checkpoint) tree() [][]string {
	root := &module{name: i.Architecture}
	for n := range i.Tensors {
		root.add(strings.Split(strings.TrimSuffix(i.Tensors[n].Name, ".weight"), "."), &i.Tensors[n])
	}
	root.fold()
	return root.rows(nil, "", "", len(i.DTypes) > 1)
}

func (m *module) add(path []string, t *Tensor) {
	if len(path) == 0 {
		m.tensor = t
		return
	}
	for _, c := range m.children {
		if c.name == path[0] {
			c.add(path[1:], t)
			return
		}
	}
	child := &module{name: path[0]}
	m.children = append(m.children, child)
	child.add(path[1:], t)
}

// fold merges each run of numbered children of the same form into the first of them.
func (m *module) fold() {
	var kept []*module
	for _, c := range m.children {
		c.fold()
		if _, err := strconv.Atoi(c.name); err == nil && len(kept) > 0 {
			if last := kept[len(kept)-1]; last.form() == c.form() {
				last.repeats = max(1, last.repeats) + 1
				continue
			}
		}
		kept = append(kept, c)
	}
	m.children = kept
}

// form describes what a module consists of, without its name. Equal modules have equal forms.
func (m *module) form() string {
	if m.tensor != nil {
		return fmt.Sprint(m.tensor.Shape, m.tensor.DType)
	}
	var b strings.Builder
	for _, c := range m.children {
		b.WriteString("(" + c.name + " " + strconv.Itoa(c.repeats) + " " + c.form() + ")")
	}
	return b.String()
}

// size returns the parameters and bytes of the module and of the modules it stands for.
func (m *module) size() (parameters, bytes int64) {
	if m.tensor != nil {
		parameters, bytes = m.tensor.Parameters, m.tensor.Bytes
	}
	for _, c := range m.children {
		p, b := c.size()
		parameters, bytes = parameters+p, bytes+b
	}
	n := int64(max(1, m.repeats))
	return n * parameters, n * bytes
}

// rows appends the rows of the module and its children. before is drawn in front of its name, below in front
// of the names of its children.
func (m *module) rows(rows [][]string, before, below string, types bool) [][]string {
	name, shape, dtype := m.name, "", ""
	parameters, bytes := m.size()
	switch {
	case m.repeats > 0:
		first, _ := strconv.Atoi(m.name)
		name = fmt.Sprintf("%d … %d, each", first, first+m.repeats-1)
		parameters, bytes = parameters/int64(m.repeats), bytes/int64(m.repeats)
	case len(m.children) == 1 && m.children[0].repeats > 0: // all layers are equal: one row for list and item
		only := m.children[0]
		name = fmt.Sprintf("%s: %s, each of", m.name, show.Thousands(int64(only.repeats)))
		m = only
	}
	if m.tensor != nil {
		shape = dims(m.tensor.Shape)
		if types {
			dtype = m.tensor.DType
		}
	}
	rows = append(rows, []string{before + name, shape, show.Thousands(parameters), show.Bytes(bytes), dtype})
	for n, c := range m.children {
		if n < len(m.children)-1 {
			rows = c.rows(rows, below+"├─ ", below+"│  ", types)
		} else {
			rows = c.rows(rows, below+"└─ ", below+"   ", types)
		}
	}
	return rows
}

func dims(shape []int) string {
	words := make([]string, len(shape))
	for i, n := range shape {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, " × ")
}

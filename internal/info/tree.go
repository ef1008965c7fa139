package info

import (
	"fmt"
	"strconv"
	"strings"

	"phi3/internal/show"
)

// module is a node of the checkpoint's tree: a tensor, or what tensors belong to, as their names say.
type module struct {
	name     string
	children []*module
	tensor   *Tensor // of a leaf
	repeats  int     // layers of the same form that this one stands for; 0: none but itself
}

// tree prints the tensors as the modules that their names spell, layers of the same form once: a row a
// module, with shape, parameters, bytes and type.
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

// fold puts runs of numbered children of the same form into their first.
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

// form spells what a module is made of, without its name.
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

// size is the parameters and bytes of the module, all its repeats included.
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

// rows appends the module and what is below it. before stands in front of its own name, below in front of its
// children's.
func (m *module) rows(rows [][]string, before, below string, types bool) [][]string {
	name, shape, dtype := m.name, "", ""
	parameters, bytes := m.size()
	switch {
	case m.repeats > 0:
		first, _ := strconv.Atoi(m.name)
		name = fmt.Sprintf("%d … %d, each", first, first+m.repeats-1)
		parameters, bytes = parameters/int64(m.repeats), bytes/int64(m.repeats)
	case len(m.children) == 1 && m.children[0].repeats > 0: // all layers are of one form: the list and its one item share a row
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

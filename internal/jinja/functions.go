package jinja

import (
	"errors"
	"fmt"
)

// functions maps the global names of a template.
var functions = map[string]Value{
	"range":           &function{"range", rangeFunction},
	"dict":            &function{"dict", dictFunction},
	"namespace":       &function{"namespace", namespaceFunction},
	"cycler":          &function{"cycler", cyclerFunction},
	"joiner":          &function{"joiner", joinerFunction},
	"lipsum":          &function{"lipsum", lipsumFunction},
	"raise_exception": &function{"raise_exception", raiseFunction},
	"strftime_now":    &function{"strftime_now", strftimeFunction},
}

func rangeFunction(r *run, a *given) (Value, error) {
	if len(a.named) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		return nil, errors.New("range wants one to three whole numbers")
	}
	var n [3]int
	for i, v := range a.pos {
		var err error
		if n[i], err = wantInt(v); err != nil {
			return nil, err
		}
	}
	g := &Range{n[0], n[1], 1}
	switch len(a.pos) {
	case 1:
		g = &Range{0, n[0], 1}
	case 3:
		g.step = n[2]
	}
	if g.step == 0 {
		return nil, errors.New("the step of a range is 0")
	}
	const far = 1 << 60
	if g.start < -far || g.start > far || g.stop < -far || g.stop > far || g.step < -far || g.step > far ||
		g.length() > maxRange {
		return nil, limitf("a range has more than %d numbers", maxRange)
	}
	return g, nil
}

func dictFunction(r *run, a *given) (Value, error) {
	if len(a.pos) > 1 {
		return nil, errors.New("dict wants one value and named ones")
	}
	if err := undefinedIn(a.pos...); err != nil {
		return nil, err
	}
	d := NewDict()
	if len(a.pos) == 1 {
		if from, ok := a.pos[0].(*Dict); ok {
			for _, e := range from.entries {
				if err := r.set(d, e.key, e.value); err != nil {
					return nil, err
				}
			}
		} else if err := r.pairs(d, a.pos[0]); err != nil {
			return nil, err
		}
	}
	for _, n := range a.named {
		if err := r.set(d, n.name, n.value); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// pairs adds the pairs of v to d.
func (r *run) pairs(d *Dict, v Value) error {
	return r.each(v, func(item Value) error {
		pair, err := r.collect(item)
		if err != nil {
			return err
		}
		if len(pair) != 2 {
			return fmt.Errorf("a dict is made of pairs, not of %d values", len(pair))
		}
		return r.set(d, pair[0], pair[1])
	})
}

func namespaceFunction(r *run, a *given) (Value, error) {
	d, err := dictFunction(r, a)
	if err != nil {
		return nil, err
	}
	return &namespace{d.(*Dict)}, nil
}

// cycler is the value of cycler(a, b, …).
type cycler struct {
	items []Value
	at    int
}

func cyclerFunction(_ *run, a *given) (Value, error) {
	if len(a.pos) == 0 || len(a.named) > 0 {
		return nil, errors.New("cycler wants values")
	}
	return &cycler{items: a.pos}, nil
}

func (c *cycler) attr(name string) (Value, bool) {
	switch name {
	case "items":
		return &Tuple{Items: c.items}, true
	case "pos":
		return c.at, true
	case "current":
		return c.items[c.at], true
	case "next":
		return &function{name, func(_ *run, a *given) (Value, error) {
			_, err := a.bind("")
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v, err
		}}, true
	case "reset":
		return &function{name, func(_ *run, a *given) (Value, error) {
			_, err := a.bind("")
			c.at = 0
			return nil, err
		}}, true
	}
	return nil, false
}

// joiner is the value of joiner(sep).
type joiner struct {
	sep  Value
	used bool
}

func joinerFunction(_ *run, a *given) (Value, error) {
	p, err := a.bind("sep?")
	if err != nil {
		return nil, err
	}
	return &joiner{sep: or(p[0], ", ")}, nil
}

func (j *joiner) call(_ *run, a *given) (Value, error) {
	_, err := a.bind("")
	if !j.used {
		j.used = true
		return "", err
	}
	return j.sep, err
}

func lipsumFunction(*run, *given) (Value, error) {
	return nil, errors.New("lipsum is not supported: it makes a text by chance")
}

func raiseFunction(r *run, a *given) (Value, error) {
	p, err := a.bind("message")
	if err != nil {
		return nil, err
	}
	s, err := r.str(p[0])
	if err != nil {
		return nil, err
	}
	return nil, &Raised{s}
}

func strftimeFunction(r *run, a *given) (Value, error) {
	p, err := a.bind("format")
	if err != nil {
		return nil, err
	}
	format, err := wantText(p[0])
	if err != nil {
		return nil, err
	}
	if err := r.reserveTimes(len(format), 32); err != nil {
		return nil, err
	}
	return strftime(r.options.Now(), format)
}

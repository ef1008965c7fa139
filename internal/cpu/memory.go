package cpu

import (
	"errors"
	"reflect"

	"phi3/internal/model"
)

// PlanMemory is what the plan takes of the machine's memory, in steps as large as suit this processor, after
// its context is made to fit in Options.Memory. Of the tensors it looks at type and shape only. Weights are
// pages of the checkpoint's files, which the system shares between processes and may drop; keys and values
// are allocated as the context fills, so KV is the most they come to.
func PlanMemory(p *model.Plan, o Options) (_ model.Memory, err error) {
	b, err := New(o)
	if err != nil {
		return model.Memory{}, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	p.MaxTokens = min(b.MaxTokens(), p.Context)
	if err := b.Plan(p); err != nil {
		return model.Memory{}, err
	}
	return b.memory(p)(p.Blocks()), nil
}

// memory tells what the plan takes with so many blocks of KV cache. Plan has allocated the workspace.
func (b *Backend) memory(p *model.Plan) func(blocks int) model.Memory {
	m := model.Memory{Workspace: b.workspaceBytes()}
	for _, t := range p.Tensors {
		m.Weights += t.Bytes()
		if len(t.Shape) == 1 {
			m.Workspace += 4 * int64(t.Elems()) // Upload widens norms
		}
	}
	for _, x := range p.Matrices() {
		m.Workspace += 4 * int64(x.Rows) * int64(x.Cols)
	}
	block := 2 * int64(b.kvBlockElems())
	if b.float32 {
		block *= 2
	}
	return func(blocks int) model.Memory {
		m.KV = int64(blocks) * block
		return m
	}
}

// workspaceBytes is what Plan has allocated: the slices of the backend, and what is in them. By reflection,
// so that none is forgotten.
func (b *Backend) workspaceBytes() (n int64) {
	v := reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			n += bytesIn(f)
		}
	}
	return n
}

// bytesIn is the memory of a slice, and of those in the structs that it points to.
func bytesIn(v reflect.Value) (n int64) {
	switch v.Kind() {
	case reflect.Slice:
		n = int64(v.Len()) * int64(v.Type().Elem().Size())
		if v.Type().Elem().Kind() == reflect.Pointer {
			for i := range v.Len() {
				n += bytesIn(v.Index(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			n = bytesIn(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += bytesIn(v.Field(i))
		}
	}
	return n
}

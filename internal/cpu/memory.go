package cpu

import (
	"errors"
	"reflect"

	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// PlanMemory is what a model takes of the machine's memory for a context of so many tokens, in steps as large as suit this processor. Of
// the tensors it looks at type and shape only. Weights are pages of the checkpoint's files, which the system shares between processes
// and may drop; keys and values are allocated as the context fills, so KV is the most they come to.
func PlanMemory(c *model.Config, tensors []*safetensors.Tensor, o Options, context int) (_ model.Memory, err error) {
	b, err := New(o)
	if err != nil {
		return model.Memory{}, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	_, maxTokens, kvBlocks := model.Options{Context: context, MaxTokens: b.MaxTokens()}.Sizes(c)
	if err := b.Plan(c, tensors, maxTokens, kvBlocks); err != nil {
		return model.Memory{}, err
	}
	m := model.Memory{KV: int64(kvBlocks) * int64(b.kvBlockElems()) * 2, Workspace: b.workspaceBytes()}
	if o.Float32 {
		m.KV *= 2
	}
	for _, t := range tensors {
		m.Weights += int64(t.Elems()) * int64(t.DType.Bits()) / 8
		if len(t.Shape) == 1 {
			m.Workspace += 4 * int64(t.Elems()) // Upload widens norms
		}
	}
	for _, a := range model.Activations(c, maxTokens) {
		m.Workspace += 4 * int64(a.Rows) * int64(a.Cols)
	}
	return m, nil
}

// workspaceBytes is what Plan has allocated: the slices of the backend, and what is in them. By reflection, so that none is forgotten.
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

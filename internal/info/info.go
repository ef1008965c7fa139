// Package info describes a checkpoint: its tensors as a tree, its shapes, RoPE and special tokens, and the
// memory that it needs on each device. It reads only the headers of the weights.
package info

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/safetensors"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
	"phi3/internal/weight"
)

// Options say what is described, and for which machine.
type Options struct {
	Name    string // of the checkpoint, as the user gave it
	Title   string // the same, shorter: org/name, or the last part of a path
	Note    string // shown beside the title, if not empty
	Context int    // tokens that memory is computed for; 0: the model's own
	Float32 bool   // round nothing, and keep keys and values as float32
	// Weights describes the checkpoint as if it were quantized: the name of a recipe of package quantize, ""
	// for the weights as stored.
	Weights string

	FreeMemory    int64                 // of this machine, in bytes; 0: not known
	FreeGPUMemory func() (int64, error) // of this machine's GPU; the error says why there is none
	Advice        func(error) string    // what to do about an error of the GPU, as the end of a sentence
}

// Checkpoint is the description of a checkpoint. Its JSON is the output of phi3 info --json.
type Checkpoint struct {
	Model         string   `json:"model"`
	Architecture  string   `json:"architecture"`
	Parameters    int64    `json:"parameters"` // a tied LM head counts once
	WeightBytes   int64    `json:"weight_bytes"`
	BitsPerWeight float64  `json:"bits_per_weight"`
	DTypes        []string `json:"dtypes"` // of the tensors
	Types         []Type   `json:"types"`  // the same with sizes, that of most weights first
	// Quantized is the value of --weights, which the sizes are for.
	Quantized string   `json:"quantized,omitempty"`
	Files     []string `json:"files"`
	// Missing says why there are no weights. The sizes are then those that config.json asks for.
	Missing       string     `json:"missing,omitempty"`
	Tensors       []Tensor   `json:"tensors"`
	Unused        []string   `json:"unused_tensors"`
	Hidden        int        `json:"hidden_size"`
	Intermediate  int        `json:"intermediate_size"`
	Layers        int        `json:"num_hidden_layers"`
	Heads         int        `json:"num_attention_heads"`
	KVHeads       int        `json:"num_key_value_heads"`
	HeadDim       int        `json:"head_dim"`
	Vocab         int        `json:"vocab_size"`
	Tied          bool       `json:"tie_word_embeddings"`
	Labels        []string   `json:"labels,omitempty"` // of a classification head
	ProblemType   string     `json:"problem_type,omitempty"`
	Eps           float32    `json:"rms_norm_eps"`
	MaxPositions  int        `json:"max_position_embeddings"`
	SlidingWindow *int       `json:"sliding_window"` // null: none
	RoPE          RoPE       `json:"rope"`
	BOS           *Token     `json:"bos"` // null: none
	EOS           []Token    `json:"eos"`
	Pad           *Token     `json:"pad"`
	Tokenizer     *Tokenizer `json:"tokenizer"` // null: its files are not there
	Memory        Memory     `json:"memory"`

	Notes       []string `json:"-"` // how the configuration was read, where that is not obvious
	title, note string   // see [Options]
	headDiffers bool
}

// Tensor is one tensor of the checkpoint, or one that config.json asks for.
type Tensor struct {
	Name       string `json:"name"`
	Shape      []int  `json:"shape"`
	DType      string `json:"dtype"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	File       string `json:"file,omitempty"`
}

// Type is the size of the tensors that have one type.
type Type struct {
	DType         string  `json:"dtype"`
	Tensors       int     `json:"tensors"`
	Parameters    int64   `json:"parameters"`
	Bytes         int64   `json:"bytes"`
	BitsPerWeight float64 `json:"bits_per_weight"`
}

// RoPE says how positions rotate queries and keys.
type RoPE struct {
	Kind            string    `json:"kind"` // plain or longrope
	Theta           float64   `json:"theta"`
	Dim             int       `json:"dim"`                    // of a head's dimensions, those that rotate
	OriginalMax     int       `json:"original_max,omitempty"` // tokens up to which the short factors apply
	AttentionFactor float64   `json:"attention_factor"`       // on cosines and sines
	Short           []float32 `json:"short_factor,omitempty"` // [dim/2]
	Long            []float32 `json:"long_factor,omitempty"`  // [dim/2]
}

// Token is a special token.
type Token struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece,omitempty"` // absent without a tokenizer
}

// Tokenizer says what the tokenizer's files hold.
type Tokenizer struct {
	Tokens       int     `json:"tokens"` // one more than the highest id
	Adds         []Token `json:"adds"`   // around a text by itself, such as a BOS
	ChatTemplate bool    `json:"chat_template"`
}

// Describe describes the checkpoint in fsys. Missing weights and a missing tokenizer are part of the
// description; broken ones are an error.
func Describe(fsys fs.FS, o Options) (*Checkpoint, error) {
	i := &Checkpoint{Model: o.Name, title: o.Title, note: o.Note, Files: []string{}, Unused: []string{}}
	ckpt, err := model.Open(fsys)
	var config *model.Config
	var tensors []*weight.Tensor
	switch {
	case errors.Is(err, safetensors.ErrMissing):
		i.Missing = err.Error()
		if config, err = model.ReadConfig(fsys); err != nil {
			return nil, err
		}
		if tensors, err = expected(config); err != nil {
			return nil, fmt.Errorf("config.json: %w", err)
		}
	case err != nil:
		return nil, err
	default:
		defer func() { _ = ckpt.Close() }()
		config, tensors = ckpt.Config, ckpt.Tensors
		i.Files, i.Unused = ckpt.Files(), append(i.Unused, ckpt.Unused...)
	}
	if o.Weights != "" {
		recipe, err := quantize.Parse(o.Weights)
		if err != nil {
			return nil, err
		}
		if tensors, err = config.Quantized(tensors, recipe); err != nil {
			return nil, err
		}
		i.Quantized = o.Weights
	}
	i.addTensors(config, tensors)
	i.addConfig(config)
	if err := i.addTokens(config, fsys); err != nil {
		return nil, err
	}
	i.Memory, err = memory(config, tensors, o)
	return i, err
}

// expected returns the tensors that a configuration asks for, without data, in the type that it names. No
// weights confirm its numbers, so numbers far beyond any model's are an error.
func expected(c *model.Config) ([]*weight.Tensor, error) {
	const maxWidth, maxBytes = 1 << 17, 1 << 42
	for _, size := range []struct {
		what  string
		value int
	}{
		{"hidden_size is", c.HiddenSize},
		{"intermediate_size is", c.IntermediateSize},
		{"the number of qkv_proj's rows is", c.QKVRows()},
	} {
		if size.value > maxWidth {
			return nil, fmt.Errorf("%s %d, and there are no weights to confirm that", size.what, size.value)
		}
	}
	dtype := weight.BF16
	switch c.DType {
	case "float16":
		dtype = weight.F16
	case "float32":
		dtype = weight.F32
	}
	var tensors []*weight.Tensor
	bytes := int64(0)
	for _, spec := range c.Tensors() {
		t := &weight.Tensor{Name: spec.Name, Shape: spec.Shape, Format: dtype}
		if bytes += t.Bytes(); bytes > maxBytes {
			return nil, fmt.Errorf("it describes a model of more than %s, and there are no weights to "+
				"confirm that", show.Bytes(maxBytes))
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func (i *Checkpoint) addTensors(c *model.Config, tensors []*weight.Tensor) {
	for n, spec := range c.Tensors() {
		t := tensors[n]
		i.Tensors = append(i.Tensors, Tensor{
			spec.Name, t.Shape, t.Format.String(), int64(t.Elems()), t.Bytes(), t.File,
		})
	}
	for _, t := range weight.Totals(tensors) {
		i.Types = append(i.Types, Type{t.Format.String(), t.Tensors, t.Elems, t.Bytes, t.BitsPerWeight()})
		i.DTypes = append(i.DTypes, t.Format.String())
	}
	slices.Sort(i.DTypes)
	sum := weight.Sum(tensors)
	i.Parameters, i.WeightBytes, i.BitsPerWeight = sum.Elems, sum.Bytes, sum.BitsPerWeight()
}

func (i *Checkpoint) addConfig(c *model.Config) {
	i.Hidden, i.Intermediate, i.Layers, i.Vocab = c.HiddenSize, c.IntermediateSize, c.Layers, c.VocabSize
	i.Heads, i.KVHeads, i.HeadDim, i.Tied = c.Heads, c.KVHeads, c.HeadDim, c.TiedEmbeddings
	i.Notes, i.headDiffers = c.Notes, c.HeadDiffers
	i.Eps, i.MaxPositions = c.RMSNormEps, c.MaxPositions
	i.Architecture, i.Labels, i.ProblemType = c.Head.String(), c.Labels, c.ProblemType
	if c.SlidingWindow > 0 {
		i.SlidingWindow = &c.SlidingWindow
	}
	i.RoPE = RoPE{
		Kind: "plain", Theta: c.RoPE.Theta, Dim: c.RoPE.Dim,
		AttentionFactor: c.RoPE.AttentionFactor,
	}
	if c.Crossing() > 0 {
		i.RoPE.Kind, i.RoPE.OriginalMax = "longrope", c.RoPE.OriginalMax
		i.RoPE.Short, i.RoPE.Long = c.RoPE.ShortFactor, c.RoPE.LongFactor
	}
}

func (i *Checkpoint) addTokens(c *model.Config, fsys fs.FS) error {
	t, err := tokenizer.Load(fsys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	describe := func(ids ...int32) []Token {
		list := []Token{}
		for _, id := range ids {
			token := Token{ID: id}
			if t != nil {
				token.Piece = t.Piece(id)
			}
			list = append(list, token)
		}
		return list
	}
	if c.BOS >= 0 {
		i.BOS = &describe(c.BOS)[0]
	}
	if c.Pad >= 0 {
		i.Pad = &describe(c.Pad)[0]
	}
	i.EOS = describe(c.EOS...)
	if t == nil {
		return nil
	}
	added, err := t.Encode(context.Background(), "", tokenizer.EncodeOptions{})
	if err != nil {
		return err
	}
	i.Tokenizer = &Tokenizer{
		Tokens: t.VocabSize(), Adds: describe(added...),
		ChatTemplate: t.HasChatTemplate(),
	}
	return nil
}

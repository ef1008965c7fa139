package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/demo"
	"phi3/internal/model"
	"phi3/internal/safetensors"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

type infoFlags struct {
	model modelFlags
	json  bool
}

func newInfo(s *streams) *cobra.Command {
	var f infoFlags
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show what a checkpoint is: layers, shapes, tokens, memory",
		Long: `Show what a checkpoint is: its layers as a tree with shapes and parameter counts,
context and RoPE, special tokens, the memory it takes for a given --ctx-size on the
CPU and on a GPU, whether or not there is one, and how much context fits in the memory
that is free on this machine.

Only the headers of the weights are read, so it takes no time. A directory without
weights is described by its config.json.`,
		Example: `  phi3 info
  phi3 info --model ./Phi-3-mini-4k-instruct
  phi3 info --model ./Phi-3-mini-128k-instruct --ctx-size 8192 --json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return f.run(s) },
	}
	flags := cmd.Flags()
	f.model.registerCheckpoint(flags)
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object")
	return cmd
}

// checkpointInfo is the answer of --json.
type checkpointInfo struct {
	Model        string   `json:"model"`
	Architecture string   `json:"architecture"`
	Parameters   int64    `json:"parameters"` // a tied LM head counts once
	WeightBytes  int64    `json:"weight_bytes"`
	DTypes       []string `json:"dtypes"` // of the tensors
	Files        []string `json:"files"`
	// why there are no weights; sizes are then those of config.json
	Missing       string         `json:"missing,omitempty"`
	Tensors       []tensorInfo   `json:"tensors"`
	Unused        []string       `json:"unused_tensors"`
	Hidden        int            `json:"hidden_size"`
	Intermediate  int            `json:"intermediate_size"`
	Layers        int            `json:"num_hidden_layers"`
	Heads         int            `json:"num_attention_heads"`
	KVHeads       int            `json:"num_key_value_heads"`
	HeadDim       int            `json:"head_dim"`
	Vocab         int            `json:"vocab_size"`
	Tied          bool           `json:"tie_word_embeddings"`
	Labels        []string       `json:"labels,omitempty"` // of a classification head
	ProblemType   string         `json:"problem_type,omitempty"`
	Eps           float32        `json:"rms_norm_eps"`
	MaxPositions  int            `json:"max_position_embeddings"`
	SlidingWindow *int           `json:"sliding_window"` // null: none
	RoPE          ropeInfo       `json:"rope"`
	BOS           *tokenInfo     `json:"bos"` // null: none
	EOS           []tokenInfo    `json:"eos"`
	Pad           *tokenInfo     `json:"pad"`
	Tokenizer     *tokenizerInfo `json:"tokenizer"` // null: its files are not there
	Memory        memoryInfo     `json:"memory"`

	note        string // that belongs beside the model's name
	notes       []string
	headDiffers bool
}

type tensorInfo struct {
	Name       string `json:"name"`
	Shape      []int  `json:"shape"`
	DType      string `json:"dtype"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	File       string `json:"file,omitempty"`
}

type ropeInfo struct {
	Kind            string    `json:"kind"` // plain or longrope
	Theta           float64   `json:"theta"`
	Dim             int       `json:"dim"`                    // of a head's dimensions, those that rotate
	OriginalMax     int       `json:"original_max,omitempty"` // tokens up to which the short factors apply
	AttentionFactor float64   `json:"attention_factor"`       // on cosines and sines
	Short           []float32 `json:"short_factor,omitempty"` // [dim/2]
	Long            []float32 `json:"long_factor,omitempty"`  // [dim/2]
}

type tokenInfo struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece,omitempty"` // absent without a tokenizer
}

type tokenizerInfo struct {
	Tokens       int         `json:"tokens"` // one more than the highest id
	Adds         []tokenInfo `json:"adds"`   // around a text by itself, such as a BOS
	ChatTemplate bool        `json:"chat_template"`
}

// memoryInfo is in bytes, for the context and type that the flags say.
type memoryInfo struct {
	Context    int           `json:"ctx_size"`
	DType      string        `json:"dtype"`
	KVPerToken int64         `json:"kv_bytes_per_token"`
	Devices    []deviceUsage `json:"devices"`
}

type deviceUsage struct {
	Device    string `json:"device"` // cpu or cuda
	Weights   int64  `json:"weights"`
	KV        int64  `json:"kv"`
	Workspace int64  `json:"workspace"`
	Total     int64  `json:"total"`
	Refused   string `json:"refused,omitempty"` // why the model cannot run there
	Free      *int64 `json:"free,omitempty"`    // absent: not known, or there is no such device here
	Fits      *int   `json:"fits,omitempty"`    // the context without --ctx-size, in tokens; 0: none fits
	unknown   string // why Free is not known
	short     string // what happens there, if Fits is 0
}

func (f *infoFlags) run(s *streams) error {
	defer f.model.close()
	if err := f.model.check(); err != nil {
		return err
	}
	name, fsys, err := f.model.checkpoint()
	if err != nil {
		return err
	}
	i, err := f.inspect(name, fsys)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	warnUnused(s.notes(), i.Unused)
	writeNotes(s.notes(), i.notes)
	f.model.warnContext(s.notes(), i.MaxPositions)
	if f.json {
		return writeJSON(s.out, i)
	}
	return i.write(s.out)
}

// inspect describes the checkpoint in fsys. Missing weights or tokenizer files are part of the description,
// broken ones an error.
func (f *infoFlags) inspect(name string, fsys fs.FS) (*checkpointInfo, error) {
	i := &checkpointInfo{Model: name, Files: []string{}, Unused: []string{}}
	if f.model.dir == "" {
		i.note = demo.Description
	}
	ckpt, err := model.Open(fsys)
	var config *model.Config
	var tensors []*safetensors.Tensor
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
		i.Files, i.Unused = ckpt.Files(), nonNil(ckpt.Unused)
	}
	i.addTensors(config, tensors)
	i.addConfig(config)
	if err := i.addTokens(config, fsys); err != nil {
		return nil, err
	}
	return i, f.addMemory(i, config, tensors)
}

// expected is the tensors that a configuration asks for, without bytes, in the type that it names. There are
// no weights here to hold its numbers against, so those that no model has are an error.
func expected(c *model.Config) ([]*safetensors.Tensor, error) {
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
	dtype := safetensors.BF16
	switch c.DType {
	case "float16":
		dtype = safetensors.F16
	case "float32":
		dtype = safetensors.F32
	}
	var tensors []*safetensors.Tensor
	bytes := int64(0)
	for _, spec := range c.Tensors() {
		t := &safetensors.Tensor{Name: spec.Name, Shape: spec.Shape, DType: dtype}
		if bytes += int64(t.Elems()) * int64(dtype.Bits()) / 8; bytes > maxBytes {
			return nil, fmt.Errorf("it describes a model of more than %s, and there are no weights to "+
				"confirm that", show.Bytes(maxBytes))
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func (i *checkpointInfo) addTensors(c *model.Config, tensors []*safetensors.Tensor) {
	dtypes := map[string]bool{}
	for n, spec := range c.Tensors() {
		t := tensors[n]
		elems := int64(t.Elems())
		bytes := elems * int64(t.DType.Bits()) / 8
		i.Tensors = append(i.Tensors, tensorInfo{spec.Name, t.Shape, t.DType.String(), elems, bytes, t.File})
		i.Parameters += elems
		i.WeightBytes += bytes
		dtypes[t.DType.String()] = true
	}
	i.DTypes = slices.Sorted(maps.Keys(dtypes))
}

func (i *checkpointInfo) addConfig(c *model.Config) {
	i.Hidden, i.Intermediate, i.Layers, i.Vocab = c.HiddenSize, c.IntermediateSize, c.Layers, c.VocabSize
	i.Heads, i.KVHeads, i.HeadDim, i.Tied = c.Heads, c.KVHeads, c.HeadDim, c.TiedEmbeddings
	i.notes, i.headDiffers = c.Notes, c.HeadDiffers
	i.Eps, i.MaxPositions = c.RMSNormEps, c.MaxPositions
	i.Architecture, i.Labels, i.ProblemType = c.Head.String(), c.Labels, c.ProblemType
	if c.SlidingWindow > 0 {
		i.SlidingWindow = &c.SlidingWindow
	}
	i.RoPE = ropeInfo{
		Kind: "plain", Theta: c.RoPE.Theta, Dim: c.RoPE.Dim,
		AttentionFactor: c.RoPE.AttentionFactor,
	}
	if c.Crossing() > 0 {
		i.RoPE.Kind, i.RoPE.OriginalMax = "longrope", c.RoPE.OriginalMax
		i.RoPE.Short, i.RoPE.Long = c.RoPE.ShortFactor, c.RoPE.LongFactor
	}
}

func (i *checkpointInfo) addTokens(c *model.Config, fsys fs.FS) error {
	t, err := tokenizer.Load(fsys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	describe := func(ids ...int32) []tokenInfo {
		list := []tokenInfo{}
		for _, id := range ids {
			token := tokenInfo{ID: id}
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
	i.Tokenizer = &tokenizerInfo{
		Tokens: t.VocabSize(), Adds: describe(added...),
		ChatTemplate: t.HasChatTemplate(),
	}
	return nil
}

// addMemory asks each backend for what it would take.
func (f *infoFlags) addMemory(i *checkpointInfo, c *model.Config, tensors []*safetensors.Tensor) error {
	float32 := f.model.dtype == "f32"
	asked := model.Options{Context: f.model.context, MaxTokens: cudaMaxTokens}
	unasked := model.Options{MaxTokens: cudaMaxTokens}

	plan := model.NewPlan(c, tensors, asked)
	need, err := cpu.PlanMemory(plan, cpu.Options{Float32: float32})
	if err != nil {
		return err
	}
	onCPU := newDeviceUsage("cpu", need)
	if free := readMemory().available; free > 0 {
		fitted := model.NewPlan(c, tensors, unasked)
		if _, err := cpu.PlanMemory(fitted, cpu.Options{Float32: float32, Memory: free}); err != nil {
			return err
		}
		onCPU.fit(free, fitted)
		onCPU.short = fmt.Sprintf("%s tokens, slowly: the model does not fit",
			show.Thousands(int64(fitted.Context)))
	} else {
		onCPU.unknown = "the system does not tell how much memory is free"
	}

	o := cuda.Options{Float32: float32}
	onCUDA := newDeviceUsage("cuda", cuda.PlanMemory(model.NewPlan(c, tensors, asked), o))
	if refused := cuda.Supports(c, o); refused != nil {
		onCUDA.Refused = refused.Error() + inFloat32
	}
	if free, err := cudaFreeMemory(o.Device); err != nil {
		onCUDA.unknown = err.Error()
	} else {
		fitted := model.NewPlan(c, tensors, unasked)
		var tooLittle *cuda.TooLittleError
		if errors.As(cuda.Fit(fitted, o, free), &tooLittle) {
			least := show.Thousands(int64(fitted.Context))
			onCUDA.short = fmt.Sprintf("not even %s tokens fit; %s", least, whatFits(tooLittle))
		}
		onCUDA.fit(free, fitted)
	}

	i.Memory = memoryInfo{
		Context: plan.Context, DType: f.model.dtype, KVPerToken: c.KVBytesPerToken(f.model.kvElemBytes()),
		Devices: []deviceUsage{onCPU, onCUDA},
	}
	return nil
}

func newDeviceUsage(device string, need model.Memory) deviceUsage {
	return deviceUsage{
		Device: device, Weights: need.Weights, KV: need.KV, Workspace: need.Workspace, Total: need.Total(),
	}
}

// fit says how much context fits in so many bytes, by a plan that was made to fit in them.
func (d *deviceUsage) fit(free int64, fitted *model.Plan) {
	d.Free, d.Fits = &free, new(int)
	switch {
	case d.Refused != "":
		d.short = "none"
	case !fitted.Short:
		*d.Fits = fitted.Context
	}
}

// write prints the description for people.
func (i *checkpointInfo) write(w io.Writer) error {
	var b strings.Builder
	show.Fprintf(&b, "%s: %s, %s parameters", shortName(i.Model), i.Architecture, show.Thousands(i.Parameters))
	size := fmt.Sprintf("%s of %s", show.Bytes(i.WeightBytes), strings.Join(i.DTypes, " and "))
	switch n := len(i.Files); {
	case i.Missing != "":
		show.Fprintf(&b, "\nno weights here (%s); they would be %s", show.Clip(i.Missing, 300), size)
	case n == 1:
		show.Fprintf(&b, ", %s in 1 file", size)
	default:
		show.Fprintf(&b, ", %s in %d files", size, n)
	}
	if i.note != "" {
		show.Fprintf(&b, "\n(%s)", i.note)
	}
	b.WriteString("\n\n")
	alignRight(&b, append([][]string{{"", "shape", "parameters", "bytes", ""}}, i.tree()...), 1, 2, 3)
	b.WriteString("\n")
	alignRight(&b, i.facts())
	b.WriteString("\n" + i.Memory.describe())
	_, err := io.WriteString(w, b.String())
	return err
}

// describe is two tables: what the context takes, and how much context fits in what this machine has free.
func (m *memoryInfo) describe() string {
	var b strings.Builder
	show.Fprintf(&b, "memory for a context of %s tokens (--ctx-size) in %s (--dtype):\n\n",
		show.Thousands(int64(m.Context)), m.DType)
	takes := [][]string{{"", "weights", "KV cache", "workspace", "total"}}
	fits := [][]string{{"", "free memory", "context"}}
	var remarks []string
	for _, d := range m.Devices {
		row := []string{d.Device}
		for _, bytes := range []int64{d.Weights, d.KV, d.Workspace, d.Total} {
			row = append(row, show.Bytes(bytes))
		}
		takes = append(takes, row)
		switch {
		case d.Free == nil:
			fits = append(fits, []string{d.Device, "–", d.unknown})
		case *d.Fits > 0:
			fits = append(fits, []string{d.Device, show.Bytes(*d.Free), show.Thousands(int64(*d.Fits)) + " tokens"})
		default:
			fits = append(fits, []string{d.Device, show.Bytes(*d.Free), d.short})
		}
		if d.Refused != "" {
			remarks = append(remarks, show.Sprintf("Not on %s: %s.\n", d.Device, d.Refused))
		}
	}
	alignRight(&b, takes, 1, 2, 3, 4)
	show.Fprintf(&b, "\nEvery token of context takes %s. ", show.Bytes(m.KVPerToken))
	b.WriteString("On the CPU, weights are shared pages of the files, and the KV cache grows as it fills.\n")
	b.WriteString("\nWithout --ctx-size, the context is as much as fits in the memory that is free here " +
		"now:\n\n")
	alignRight(&b, fits, 1)
	if len(remarks) > 0 {
		b.WriteString("\n" + strings.Join(remarks, ""))
	}
	return b.String()
}

// facts are what the tree does not show, one a row.
func (i *checkpointInfo) facts() [][]string {
	attention := fmt.Sprintf("query heads: %d of %d dimensions, heads of keys and values: ", i.Heads,
		i.HeadDim)
	if i.KVHeads < i.Heads {
		attention += fmt.Sprint(i.KVHeads)
	} else {
		attention += "as many"
	}
	window := "none: every token sees all before it"
	if i.SlidingWindow != nil {
		window = show.Thousands(int64(*i.SlidingWindow)) + " tokens"
		if *i.SlidingWindow >= i.MaxPositions {
			window += ", more than the context"
		}
	}
	var rows [][]string
	if shortName(i.Model) != i.Model {
		rows = append(rows, []string{"directory", i.Model})
	}
	rows = append(rows, [][]string{
		{"context", show.Thousands(int64(i.MaxPositions)) + " tokens"},
		{"attention", attention},
		{"sliding window", window},
		{"RoPE", i.RoPE.describe(i.HeadDim)},
		{"RMSNorm epsilon", strconv.FormatFloat(float64(i.Eps), 'g', -1, 32)},
		{"vocabulary", show.Thousands(int64(i.Vocab)) + " rows"},
	}...)
	switch {
	case i.headDiffers:
		rows = append(rows, []string{
			"LM head",
			"lm_head.weight (config.json says tied, but it differs from the embedding table)",
		})
	case i.Tied:
		rows = append(rows, []string{"LM head", "the embedding table (tied)"})
	}
	if i.Labels != nil {
		labels := strings.Join(i.Labels[:min(len(i.Labels), 10)], ", ") + ellipsis(len(i.Labels) > 10)
		rows = append(rows, []string{"labels", fmt.Sprintf("%d: %s", len(i.Labels), visible(labels))})
	}
	row := func(name string, tokens ...tokenInfo) {
		words := []string{}
		for _, t := range tokens {
			word := strconv.Itoa(int(t.ID))
			if t.Piece != "" {
				word += " " + shownPiece(t.Piece)
			}
			words = append(words, word)
		}
		if len(words) == 0 {
			words = []string{"none"}
		}
		rows = append(rows, []string{name, strings.Join(words, ", ")})
	}
	list := func(t *tokenInfo) []tokenInfo {
		if t == nil {
			return nil
		}
		return []tokenInfo{*t}
	}
	row("BOS", list(i.BOS)...)
	row("EOS (any ends)", i.EOS...)
	row("pad", list(i.Pad)...)
	if i.Tokenizer == nil {
		return append(rows, []string{"tokenizer", "tokenizer.json is not here"})
	}
	rows = append(rows, []string{"tokenizer", show.Thousands(int64(i.Tokenizer.Tokens)) + " tokens"})
	row("added to a text", i.Tokenizer.Adds...)
	template := "none"
	if i.Tokenizer.ChatTemplate {
		template = "yes"
	}
	return append(rows, []string{"chat template", template})
}

func (r *ropeInfo) describe(headDim int) string {
	text := fmt.Sprintf("plain, θ = %g", r.Theta)
	if r.Kind == "longrope" {
		text = fmt.Sprintf("long, θ = %g: short factors up to %s tokens, long ones beyond; cos and sin × %.6g",
			r.Theta, show.Thousands(int64(r.OriginalMax)), r.AttentionFactor)
	}
	if r.Dim < headDim {
		text += fmt.Sprintf("; %d of %d dimensions rotate", r.Dim, headDim)
	}
	return text
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"phi3/internal/checkpoint"
	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/demo"
	"phi3/internal/hub"
	"phi3/internal/model"
	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/tokenizer"
)

// modelFlags say which model runs, and how.
type modelFlags struct {
	dir      string
	revision string
	device   string
	dtype    string
	threads  int
	context  int
	wide     bool // sliding window, by one
	labels   bool // the command is for classification heads
	// of the model, once it is found in the cache: weights and tokenizer are of one revision, whatever
	// happens meanwhile
	snapshot *hub.Snapshot
	opened   *checkpoint.Directory // once it is open
	flags    *pflag.FlagSet
	onCPU    *cpu.Backend // that the model was loaded on; nil on a GPU
}

// Far beyond any machine and any model; here so that a slip of the finger is a sentence and not the end of
// all memory.
const (
	maxThreads = 1 << 12
	maxContext = 1 << 24 // tokens
)

func (f *modelFlags) register(flags *pflag.FlagSet) {
	f.registerCheckpoint(flags)
	f.registerDevice(flags)
}

// registerCheckpoint is for commands that look at a checkpoint and run nothing.
func (f *modelFlags) registerCheckpoint(flags *pflag.FlagSet) {
	f.registerModel(flags)
	flags.StringVar(&f.dtype, "dtype", "bf16",
		"what matrix inputs are rounded to: bf16, or f32 to round nothing")
	flags.IntVarP(&f.context, "ctx-size", "c", 0,
		"longest sequence in tokens (default: what the model was made for, or as much of it as fits in "+
			"memory)")
}

// modelVariable names the environment variable that has the place of --model where that is not given.
const modelVariable = "PHI3_MODEL"

func (f *modelFlags) registerModel(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringVarP(&f.dir, "model", "m", "",
		"`directory` of a Hugging Face checkpoint, or org/name on the hub (default: $PHI3_MODEL, else the "+
			"built-in demonstration)")
	f.dir = os.Getenv(modelVariable)
	flags.StringVar(&f.revision, "revision", "",
		"branch, tag or commit of a model on the hub (default: main)")
}

func (f *modelFlags) registerDevice(flags *pflag.FlagSet) {
	flags.StringVar(&f.device, "device", "auto",
		"where to run: cpu, cuda (an NVIDIA GPU; cuda:1 is the second one), "+
			"or auto: a GPU if there is one that can run the model and has room for it, else the CPU")
	flags.IntVarP(&f.threads, "threads", "t", 0, "CPU threads (default: all cores)")
	flags.BoolVar(&f.wide, "sliding-window-compat", false,
		"see one token more than sliding_window says, as transformers 4.41 did")
}

// check finds mistakes in the flags' values.
func (f *modelFlags) check() error {
	switch {
	case f.dtype != "bf16" && f.dtype != "f32":
		return usagef("--dtype is %q, not bf16 or f32", f.dtype)
	case f.flags.Changed("threads") && (f.threads < 1 || f.threads > maxThreads):
		return usagef("--threads is %d, not in 1 … %d", f.threads, maxThreads)
	case f.context < 0 || f.context > maxContext:
		return usagef("--ctx-size is %d, not in 0 … %d", f.context, maxContext)
	}
	return f.checkName()
}

// checkName finds an empty --model, such as of an unset shell variable: the demonstration would answer
// unasked.
func (f *modelFlags) checkName() error {
	if f.flags.Changed("model") && f.dir == "" {
		return usagef("--model is empty")
	}
	return nil
}

// checkpoint is where the flags say the model is. It is open until close.
func (f *modelFlags) checkpoint() (name string, fsys fs.FS, err error) {
	if f.opened != nil {
		return f.dir, f.opened, nil
	}
	h, snapshot, err := f.fromHub()
	switch {
	case err != nil:
		return "", nil, err
	case snapshot != nil:
		return f.open(snapshot.Dir)
	case f.dir == "":
		return demo.Name, demo.FS(), nil
	case h != nil:
		return "", nil, fmt.Errorf("there is no directory %s%s, and no model of that name in the cache; "+
			"phi3 pull %[1]s downloads it", f.dir, f.origin())
	}
	info, err := os.Stat(f.dir)
	switch {
	case isAbsent(err):
		return "", nil, fmt.Errorf("there is no directory %s%s%s", f.dir, f.origin(), meant(f.dir))
	case err != nil:
		return "", nil, fmt.Errorf("%s%s: %w", f.dir, f.origin(), regular.Reason(err))
	}
	if !info.IsDir() {
		return "", nil, notADirectory(f.dir)
	}
	if isModelFolder(f.dir) {
		return "", nil, fmt.Errorf("%s is the folder of a model in a cache, which may have several "+
			"revisions; --model takes one of its snapshots%s",
			f.dir, meant(filepath.Base(f.dir)))
	}
	return f.open(f.dir)
}

// isAbsent tells whether a path leads to nothing; below a file there is nothing either.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// origin says, behind the model's name, where it comes from if not from --model.
func (f *modelFlags) origin() string {
	if f.dir == "" || f.flags.Changed("model") {
		return ""
	}
	return " (from " + modelVariable + ")"
}

func (f *modelFlags) open(dir string) (name string, fsys fs.FS, err error) {
	if f.opened, err = checkpoint.Open(dir); err != nil {
		return "", nil, err
	}
	return f.dir, f.opened, nil
}

// close releases the checkpoint's directory. A model that has been loaded from it stays.
func (f *modelFlags) close() {
	if f.opened != nil {
		_ = f.opened.Close()
	}
}

// chosenDevice is where the flags want the model to run.
func (f *modelFlags) chosenDevice() (device, error) {
	d, err := parseDevice(f.device)
	if err == nil && d.name == "cuda" && f.flags.Changed("threads") {
		err = usagef("--threads is for the CPU, it changes nothing with --device %s", f.device)
	}
	return d, err
}

// prepare finds what is wrong with the flags and with the kind of the model, and downloads the model if it is
// not here, before anything is opened that takes time.
func (f *modelFlags) prepare(ctx context.Context, out *streams) error {
	if _, err := f.chosenDevice(); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if err := f.download(ctx, out.notes()); err != nil {
		return err
	}
	name, fsys, err := f.checkpoint()
	if err != nil {
		return err
	}
	return f.checkHead(name, fsys)
}

// load opens the model and says on stderr which one it is. The caller closes it.
func (f *modelFlags) load(
	ctx context.Context, out *streams,
) (m *model.Model, name string, took time.Duration, err error) {
	stderr := out.notes()
	if err := f.prepare(ctx, out); err != nil {
		return nil, "", 0, err
	}
	device, err := f.chosenDevice()
	if err != nil {
		return nil, "", 0, err
	}
	name, fsys, err := f.checkpoint()
	if err != nil {
		return nil, "", 0, err
	}
	if cores := runtime.NumCPU(); f.threads > cores {
		_, _ = show.Fprintf(stderr, "note: --threads is %d; this machine has %d processors, and %[2]d "+
			"threads run\n", f.threads, cores)
		f.threads = cores
	}
	start := time.Now()
	m, err = f.loadOn(ctx, device, name, fsys, out)
	if err != nil {
		return nil, "", 0, err
	}
	took = time.Since(start)

	note := ""
	if f.dir == "" {
		note = " (" + demo.Description + ")"
	}
	_, _ = show.Fprintf(stderr, "model: %s%s, %d layers, %s, on %s\n",
		name, note, m.Config.Layers, show.Bytes(m.WeightBytes()), m.Device())
	if f.dir == "" {
		offerCached(stderr)
	}
	warnAdapter(stderr, fsys)
	warnUnused(stderr, m.Unused)
	writeNotes(stderr, m.Config.Notes)
	writeContext(stderr, m)
	if f.onCPU == nil && f.flags.Changed("threads") {
		_, _ = show.Fprintln(stderr, "warning: --threads is for the CPU and changes nothing on a GPU")
	}
	if f.wide && m.Config.SlidingWindow == 0 {
		_, _ = show.Fprintln(stderr, "warning: this model has no sliding window; --sliding-window-compat "+
			"changes nothing")
	}
	f.warnContext(stderr, m.Config.MaxPositions)
	return m, name, took, nil
}

// loadOn loads the model on the device; for auto, on the CPU where the GPU cannot run it or has too little
// memory.
func (f *modelFlags) loadOn(
	ctx context.Context, d device, name string, fsys fs.FS, out *streams,
) (*model.Model, error) {
	stderr := out.notes()
	backend, maxTokens, err := d.open(f.threads, f.dtype == "f32", out)
	if err != nil {
		return nil, err
	}
	f.onCPU, _ = backend.(*cpu.Backend)
	bar := startProgress(stderr, byteBar)
	o := model.Options{Context: f.context, MaxTokens: maxTokens, WideWindow: f.wide, Progress: bar.update}
	m, err := model.Load(ctx, fsys, backend, o)
	bar.stop()
	if err == nil {
		return m, nil
	}
	var tooLittle *cuda.TooLittleError
	asked := f.context > 0 && f.flags.Changed("ctx-size")
	unsupported := errors.As(err, new(*cuda.UnsupportedError))
	hint := ""
	switch {
	case errors.As(err, &tooLittle):
		hint = "; " + whatFits(tooLittle)
	case unsupported:
		hint = inFloat32
	}
	if d.name == "auto" && (unsupported || tooLittle != nil && !asked) {
		_, _ = show.Fprintf(stderr, "running on the CPU: %v%s\n", err, hint)
		return f.loadOn(ctx, device{name: "cpu"}, name, fsys, out)
	}
	if hint != "" {
		hint += ", and --device cpu needs no GPU"
	}
	return nil, fmt.Errorf("load model %s: %w%s", name, err, hint)
}

// inFloat32 ends the sentence of a [cuda.UnsupportedError].
const inFloat32 = "; --dtype f32 runs it on the GPU, more slowly"

// whatFits says how much of the model fits in a GPU that has too little memory.
func whatFits(e *cuda.TooLittleError) string {
	switch {
	case e.Fits > 0:
		return fmt.Sprintf("--ctx-size %d fits", e.Fits)
	case e.Weights <= e.Free:
		return "no context fits beside the weights"
	}
	return "the weights alone do not fit"
}

// writeContext says what context was chosen where it is not the model's own.
func writeContext(w io.Writer, m *model.Model) {
	if m.FitIn == 0 {
		return
	}
	why := "as much as fits in " + show.Bytes(m.FitIn)
	if m.Short {
		why = fmt.Sprintf("the least, because the %s of free memory are too little for this model",
			show.Bytes(m.FitIn))
	}
	_, _ = show.Fprintf(w, "context: %s of %s tokens, %s (--ctx-size sets it)\n",
		show.Thousands(int64(m.Context)), show.Thousands(int64(m.Config.MaxPositions)), why)
}

// contextLimit says, behind a sentence about the end of the context, that memory set that end; "" where it
// did not.
func contextLimit(m *model.Model) string {
	if m.FitIn == 0 {
		return ""
	}
	own := show.Thousands(int64(m.Config.MaxPositions))
	return fmt.Sprintf("; memory limits it, the model's own is %s (--ctx-size sets it)", own)
}

// explain adds to the error of a text that is too long what set the end of the context.
func explain(err error, m *model.Model) error {
	if !errors.As(err, new(*model.TooLongError)) {
		return err
	}
	limit := contextLimit(m)
	if own := m.Config.MaxPositions; limit == "" && m.Context < own {
		limit = fmt.Sprintf("; --ctx-size set it, the model's own is %s", show.Thousands(int64(own)))
	}
	return fmt.Errorf("%w%s", err, limit)
}

// tooLong says in the words of a text that is too long for the context that its encoding was ended for that
// reason.
func tooLong(err error, text string, m *model.Model) error {
	if many := new(*tokenizer.TooManyError); errors.As(err, many) {
		err = &model.TooLongError{Text: text, Tokens: (*many).Max, More: true, Context: m.Context}
	}
	return explain(err, m)
}

// warnAdapter says that a LoRA adapter beside the weights has no effect. Transformers would apply it.
func warnAdapter(stderr io.Writer, fsys fs.FS) {
	if _, err := fs.Stat(fsys, "adapter_config.json"); err == nil {
		_, _ = show.Fprintln(stderr, "warning: beside the weights is a LoRA adapter (adapter_config.json), "+
			"which phi3 does not apply: merge it into the weights")
	}
}

// writeNotes says how the checkpoint was read where that is not plain.
func writeNotes(stderr io.Writer, notes []string) {
	for _, n := range notes {
		_, _ = show.Fprintf(stderr, "note: %s\n", n)
	}
}

func warnUnused(stderr io.Writer, unused []string) {
	if n := len(unused); n > 0 {
		var shown []string
		for _, name := range unused[:min(n, 3)] {
			shown = append(shown, visible(strictjson.Clip(name)))
		}
		_, _ = show.Fprintf(stderr, "warning: %d tensors of the checkpoint are not part of a Phi-3 model "+
			"and are ignored: %s%s\n", n, strings.Join(shown, ", "), ellipsis(n > 3))
	}
}

func (f *modelFlags) warnContext(stderr io.Writer, madeFor int) {
	if f.context > madeFor {
		_, _ = show.Fprintf(stderr, "warning: --ctx-size %d is more than the %d tokens this model was "+
			"made for\n", f.context, madeFor)
	}
}

// checkHead refuses a model that is for other commands than this one.
func (f *modelFlags) checkHead(name string, fsys fs.FS) error {
	c, err := model.ReadConfig(fsys)
	switch {
	case err != nil:
		return fmt.Errorf("load model %s: %w", name, err)
	case f.labels && c.Head == model.LMHead:
		return fmt.Errorf("%s is a %s: it continues texts and has no labels; use phi3 generate", name, c.Head)
	case !f.labels && c.Head != model.LMHead:
		return fmt.Errorf("%s is a %s: it labels texts and cannot continue them; use phi3 classify", name,
			c.Head)
	}
	return nil
}

// tokenizer loads the tokenizer that belongs to the model.
func (f *modelFlags) tokenizer() (*tokenizer.Tokenizer, error) {
	name, fsys, err := f.checkpoint()
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Load(fsys)
	if err != nil {
		return nil, fmt.Errorf("load the tokenizer of %s: %w", name, err)
	}
	return t, nil
}

func ellipsis(more bool) string {
	if more {
		return ", …"
	}
	return ""
}

// kvElemBytes is the size of one number in the KV cache.
func (f *modelFlags) kvElemBytes() int {
	if f.dtype == "f32" {
		return 4
	}
	return 2
}

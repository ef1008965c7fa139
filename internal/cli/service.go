package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/pflag"

	"phi3/internal/checkpoint"
	"phi3/internal/device"
	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/openai"
	"phi3/internal/text"
	"phi3/internal/usage"
)

// maxParallel is the largest --parallel; larger values are typing errors.
const maxParallel = 1 << 10

func (f *modelFlags) registerParallel(flags *pflag.FlagSet) {
	flags.IntVar(&f.parallel, "parallel", 16, fmt.Sprintf("requests that run at once, 1 … %d", maxParallel))
}

func (f *modelFlags) checkParallel() error {
	if f.parallel < 1 || f.parallel > maxParallel {
		return usage.Errorf("--parallel is %d, not in 1 … %d", f.parallel, maxParallel)
	}
	return nil
}

// service starts an engine that runs --parallel requests at once, and returns the protocol on it. The caller
// closes the engine.
func (f *modelFlags) service(
	c *checkpoint.Checkpoint, m *device.Loaded, o engine.Options,
) (*openai.Service, error) {
	t, err := loadTokenizer(c)
	if err != nil {
		return nil, err
	}
	defaults, err := generate.ReadDefaults(c.FS, true)
	if err != nil {
		return nil, err
	}
	defaults.Sampling.EOS = m.Config.EOS
	o.Parallel = f.parallel
	return &openai.Service{
		Engine: engine.New(m.Model, o), Codec: &text.Codec{Tokenizer: t}, Config: &m.Config,
		Context: m.Context, Name: c.Title, Created: time.Now().Unix(),
		Fingerprint: f.fingerprint(c, m), Defaults: defaults,
	}, nil
}

// threadCount is the part of a device's name that changes no bit of an answer.
var threadCount = regexp.MustCompile(`, \d+ threads`)

// fingerprint stands for all that an answer depends on besides the request: with the same one, the same
// request and seed give the same answer.
func (f *modelFlags) fingerprint(c *checkpoint.Checkpoint, m *device.Loaded) string {
	device := threadCount.ReplaceAllString(m.Device(), "")
	all := fmt.Sprintf("%q", []string{version(), c.Title, device, f.dtype, f.weights, fmt.Sprint(f.wide)})
	hash := sha256.Sum256([]byte(all))
	return "fp_" + hex.EncodeToString(hash[:6])
}

package cli

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// barDelay is how long loading may take unseen: a bar that flashes by only disturbs.
const barDelay = 500 * time.Millisecond

// progress is a bar on stderr while a model loads: bytes, speed, time left. It shows only on a terminal, only after a while, and leaves
// nothing behind.
type progress struct {
	start     time.Time
	delay     *time.Timer
	container *mpb.Progress
	bar       *mpb.Bar
}

func startProgress(stderr io.Writer) *progress {
	begin := make(chan any)
	return &progress{
		start:     time.Now(),
		delay:     time.AfterFunc(barDelay, func() { close(begin) }),
		container: mpb.New(mpb.WithOutput(stderr), mpb.WithRenderDelay(begin)), // draws nothing where stderr is no terminal
	}
}

// update has the signature of [model.Options] Progress.
func (p *progress) update(done, total int64) {
	if p.bar == nil {
		p.bar = p.container.AddBar(
			total,
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("loading ")),
			mpb.AppendDecorators(
				decor.CountersKiloByte("% .1f / % .1f"),
				decor.NewAverageSpeed(decor.SizeB1000(0), "  % .1f", p.start),
				decor.NewAverageETA(decor.ET_STYLE_GO, p.start, nil, decor.WC{W: 6}),
				decor.Name(" left"),
			),
		)
	}
	p.bar.SetCurrent(done)
}

// stop removes the bar.
func (p *progress) stop() {
	p.delay.Stop()
	if p.bar != nil {
		p.bar.Abort(true)
	}
	p.container.Wait()
}

package cli

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"phi3/internal/show"
)

// barDelay is how long loading may take unseen: a bar that flashes by only disturbs.
const barDelay = 500 * time.Millisecond

// barKind is what a bar counts: how it shows what is done of how much, and what a second does.
type barKind struct {
	name     string
	counters func(start time.Time) []decor.Decorator
}

var (
	byteBar = barKind{"loading ", func(start time.Time) []decor.Decorator {
		return []decor.Decorator{
			decor.CountersKiloByte("% .1f / % .1f"),
			decor.NewAverageSpeed(decor.SizeB1000(0), "  % .1f", start),
		}
	}}
	tokenBar = barKind{"reading the prompt ", func(start time.Time) []decor.Decorator {
		return []decor.Decorator{
			decor.CountersNoUnit("%d / %d tokens"),
			decor.NewAverageSpeed(0, "  %.0f/s", start),
		}
	}}
)

// progress is a bar on stderr: how much is done, speed, time left. It shows only on a terminal, only after a
// while, and leaves nothing behind.
type progress struct {
	kind      barKind
	start     time.Time
	delay     *time.Timer
	container *mpb.Progress
	bar       *mpb.Bar
}

func startProgress(stderr io.Writer, kind barKind) *progress {
	return startProgressAfter(barDelay, stderr, kind)
}

func startProgressAfter(delay time.Duration, stderr io.Writer, kind barKind) *progress {
	begin := make(chan any)
	return &progress{
		kind:  kind,
		start: time.Now(),
		delay: time.AfterFunc(delay, func() { close(begin) }),
		// draws nothing where stderr is no terminal
		container: mpb.New(mpb.WithOutput(show.Bare(stderr)), mpb.WithRenderDelay(begin)),
	}
}

// update has the signature of [model.Options] Progress.
func (p *progress) update(done, total int64) {
	if p.bar == nil {
		p.bar = p.container.AddBar(
			total,
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(p.kind.name)),
			mpb.AppendDecorators(append(p.kind.counters(p.start),
				decor.NewAverageETA(decor.ET_STYLE_GO, p.start, nil, decor.WC{W: 6}),
				decor.Name(" left"))...),
		)
	}
	p.bar.SetCurrent(done)
}

// stop removes the bar. Later calls do nothing.
func (p *progress) stop() {
	p.delay.Stop()
	if p.bar != nil {
		p.bar.Abort(true)
	}
	p.container.Wait()
}

// Package progress shows the progress of long operations on a terminal.
package progress

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"phi3/internal/show"
)

// barDelay is how long work goes on before its bar appears: a bar that flashes by disturbs.
const barDelay = 500 * time.Millisecond

// Kind is what a bar counts.
type Kind struct {
	name     string
	counters func(start time.Time) []decor.Decorator // how much is done of how much, and how much a second
}

// The kinds of bars.
var (
	Loading       = Kind{"loading ", countBytes}
	Quantizing    = Kind{"quantizing ", countBytes}
	ReadingPrompt = Kind{"reading the prompt ", countTokens}
	ReadingText   = Kind{"reading the text ", countTokens}
	Answering     = Kind{"answering ", countRequests}
)

func countBytes(start time.Time) []decor.Decorator {
	return []decor.Decorator{
		decor.CountersKiloByte("% .1f / % .1f"),
		decor.NewAverageSpeed(decor.SizeB1000(0), "  % .1f", start),
	}
}

func countTokens(start time.Time) []decor.Decorator {
	return []decor.Decorator{
		decor.CountersNoUnit("%d / %d tokens"),
		decor.NewAverageSpeed(0, "  %.0f/s", start),
	}
}

func countRequests(start time.Time) []decor.Decorator {
	return []decor.Decorator{
		decor.CountersNoUnit("%d / %d requests"),
		decor.NewAverageSpeed(0, "  %.1f/s", start),
	}
}

// Bar shows how much is done, the speed and the time left. It appears only on a terminal and only if the
// operation takes long. Stop removes it.
type Bar struct {
	kind      Kind
	start     time.Time
	delay     *time.Timer
	container *mpb.Progress
	bar       *mpb.Bar
}

// Start begins to measure time. The caller must Stop the bar.
func Start(w io.Writer, kind Kind) *Bar { return startAfter(barDelay, w, kind) }

func startAfter(delay time.Duration, w io.Writer, kind Kind) *Bar {
	begin := make(chan any)
	return &Bar{
		kind:  kind,
		start: time.Now(),
		delay: time.AfterFunc(delay, func() { close(begin) }),
		// draws nothing where w is not a terminal
		container: mpb.New(mpb.WithOutput(show.Bare(w)), mpb.WithRenderDelay(begin)),
	}
}

// Update says how much is done of how much.
func (b *Bar) Update(done, total int64) {
	if b.bar == nil {
		b.bar = b.container.AddBar(
			total,
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(b.kind.name)),
			mpb.AppendDecorators(append(b.kind.counters(b.start),
				decor.NewAverageETA(decor.ET_STYLE_GO, b.start, nil, decor.WC{W: 6}),
				decor.Name(" left"))...),
		)
	}
	b.bar.SetCurrent(done)
}

// Stop removes the bar. Later calls do nothing.
func (b *Bar) Stop() {
	b.delay.Stop()
	if b.bar != nil {
		b.bar.Abort(true)
	}
	b.container.Wait()
}

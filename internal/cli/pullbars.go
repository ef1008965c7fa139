package cli

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"phi3/internal/show"
)

// barBytes is the size from which on a file has a bar of its own; smaller ones are there at once.
const barBytes = 1_000_000

// pullBars are a bar for each file of a download: how much is there, speed, time left. They show only on a
// terminal and leave nothing behind. Notes come above them, and where there is no terminal too.
type pullBars struct {
	stderr    io.Writer
	container *mpb.Progress // nil without a terminal
	mu        sync.Mutex
	bars      map[string]*fileBar
}

// fileBar is the bar of a file, and where and when its speed begins to count: what an earlier pull has
// brought is not speed.
type fileBar struct {
	*mpb.Bar
	from  atomic.Int64 // bytes
	since time.Time
}

func newPullBars(stderr io.Writer) *pullBars {
	b := &pullBars{stderr: stderr, bars: map[string]*fileBar{}}
	if show.IsTerminal(stderr) {
		b.container = mpb.New(mpb.WithOutput(show.Bare(stderr)))
	}
	return b
}

// update has the signature of [hub.Options] Progress. A bar is not over when all bytes are there: their hash
// may be wrong, and the file begin anew.
func (b *pullBars) update(name string, done, size int64) {
	if b.container == nil || size < barBytes {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	bar := b.bars[name]
	if bar == nil {
		bar = &fileBar{since: time.Now()}
		bar.from.Store(done)
		bar.Bar = b.container.AddBar(
			-1, // it ends when it is told to
			mpb.PrependDecorators(decor.Name(show.Line(name), decor.WCSyncSpaceR)),
			mpb.AppendDecorators(
				decor.Any(func(s decor.Statistics) string {
					return show.Bytes(s.Current) + " / " +
						show.Bytes(s.Total)
				}, decor.WCSyncSpace),
				decor.Any(func(s decor.Statistics) string {
					return bar.pace(s.Current, s.Total,
						time.Since(bar.since))
				}, decor.WCSyncSpace),
			),
		)
		bar.SetTotal(size, false)
		b.bars[name] = bar
	}
	if done < bar.from.Load() {
		bar.from.Store(done)
	}
	bar.SetCurrent(done)
}

// pace is the mean speed, bytes a second, and the time left at that speed.
func (b *fileBar) pace(done, size int64, after time.Duration) string {
	speed := float64(done-b.from.Load()) / after.Seconds()
	if speed < 1 || done == size {
		return ""
	}
	left := time.Duration(float64(size-done) / speed * float64(time.Second))
	return fmt.Sprintf("%s/s  %s left", show.Bytes(int64(speed)), left.Round(time.Second))
}

// note says a line.
func (b *pullBars) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := b.stderr
	if b.container != nil {
		to = b.container
	}
	_, _ = show.Fprintln(to, text)
}

// stop takes the bars away.
func (b *pullBars) stop() {
	if b.container == nil {
		return
	}
	for _, bar := range b.bars {
		bar.Abort(true)
	}
	b.container.Wait()
}

package progress

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

// barBytes is the least size of a file that has a bar of its own. Smaller files are there at once.
const barBytes = 1_000_000

// Files shows a bar for each file of a download: how much is there, the speed and the time left. The bars
// appear only on a terminal, and Stop removes them. Notes are printed above the bars, and also if there is no
// terminal.
type Files struct {
	w         io.Writer
	container *mpb.Progress // nil without a terminal
	mu        sync.Mutex
	bars      map[string]*fileBar
}

// fileBar is the bar of a file. Its speed counts from the first update on, because an earlier download may
// have brought the beginning of the file.
type fileBar struct {
	*mpb.Bar
	from  atomic.Int64 // bytes
	since time.Time
}

// NewFiles returns a display without a bar. The caller must Stop it.
func NewFiles(w io.Writer) *Files {
	f := &Files{w: w, bars: map[string]*fileBar{}}
	if show.IsTerminal(w) {
		f.container = mpb.New(mpb.WithOutput(show.Bare(w)))
	}
	return f
}

// Update says how many bytes of a file are there. A bar stays when all bytes are there, because the download
// starts again if their hash is wrong.
func (f *Files) Update(name string, done, size int64) {
	if f.container == nil || size < barBytes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bar := f.bars[name]
	if bar == nil {
		bar = f.add(name, done, size)
		f.bars[name] = bar
	}
	if done < bar.from.Load() {
		bar.from.Store(done)
	}
	bar.SetCurrent(done)
}

func (f *Files) add(name string, done, size int64) *fileBar {
	bar := &fileBar{since: time.Now()}
	bar.from.Store(done)
	counts := func(s decor.Statistics) string {
		return show.Bytes(s.Current) + " / " + show.Bytes(s.Total)
	}
	pace := func(s decor.Statistics) string { return bar.pace(s.Current, s.Total, time.Since(bar.since)) }
	bar.Bar = f.container.AddBar(
		-1, // it ends when Stop says so
		mpb.PrependDecorators(decor.Name(show.Line(name), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(counts, decor.WCSyncSpace), decor.Any(pace, decor.WCSyncSpace)),
	)
	bar.SetTotal(size, false)
	return bar
}

// pace is the mean speed in bytes a second, and the time left at that speed.
func (b *fileBar) pace(done, size int64, after time.Duration) string {
	speed := float64(done-b.from.Load()) / after.Seconds()
	if speed < 1 || done == size {
		return ""
	}
	left := time.Duration(float64(size-done) / speed * float64(time.Second))
	return fmt.Sprintf("%s/s  %s left", show.Bytes(int64(speed)), left.Round(time.Second))
}

// Note writes a line.
func (f *Files) Note(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := f.w
	if f.container != nil {
		to = f.container
	}
	_, _ = show.Fprintln(to, text)
}

// Stop removes the bars.
func (f *Files) Stop() {
	if f.container == nil {
		return
	}
	for _, bar := range f.bars {
		bar.Abort(true)
	}
	f.container.Wait()
}

package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// barBytes is the size from which on a file has a bar of its own; smaller ones are there at once.
const barBytes = 1_000_000

// pullBars are a bar for each file of a download: how much is there, speed, time left. They show only on a terminal and leave nothing
// behind. Notes come above them, and where there is no terminal too.
type pullBars struct {
	stderr    io.Writer
	container *mpb.Progress // nil without a terminal
	mu        sync.Mutex
	bars      map[string]*fileBar
}

type fileBar struct {
	*mpb.Bar
	done int64
	at   time.Time
}

func newPullBars(stderr io.Writer) *pullBars {
	b := &pullBars{stderr: stderr, bars: map[string]*fileBar{}}
	if isTerminal(stderr) {
		b.container = mpb.New(mpb.WithOutput(stderr))
	}
	return b
}

// update has the signature of [hub.Options] Progress. A bar is not over when all bytes are there: their hash may be wrong, and the file
// begin anew.
func (b *pullBars) update(name string, done, size int64) {
	if b.container == nil || size < barBytes {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	bar := b.bars[name]
	if bar == nil {
		bar = &fileBar{Bar: b.container.AddBar(
			-1, // it ends when it is told to
			mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(
				decor.CountersKiloByte("% .1f / % .1f", decor.WCSyncSpace),
				decor.EwmaSpeed(decor.SizeB1000(0), "% .1f", 60, decor.WCSyncSpace),
				decor.EwmaETA(decor.ET_STYLE_GO, 60, decor.WCSyncSpace),
				decor.Name(" left"),
			),
		)}
		bar.SetTotal(size, false)
		b.bars[name] = bar
	}
	if bar.at.IsZero() || done < bar.done {
		bar.SetCurrent(done) // what was there before is no speed
	} else {
		bar.EwmaSetCurrent(done, now.Sub(bar.at))
	}
	bar.done, bar.at = done, now
}

// note says a line.
func (b *pullBars) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var to io.Writer = b.stderr
	if b.container != nil {
		to = b.container
	}
	_, _ = fmt.Fprintln(to, text)
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

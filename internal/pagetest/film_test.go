//go:build !race

package pagetest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// film is a recording in the making: frames of one size, and how long each of them stays.
type film struct {
	frames []*image.RGBA
	stays  []time.Duration
}

// add adds a frame. One that equals the frame before it makes that one stay longer.
func (f *film) add(frame *image.RGBA, stay time.Duration) {
	if last := len(f.frames) - 1; last >= 0 && bytes.Equal(f.frames[last].Pix, frame.Pix) {
		f.stays[last] += stay
		return
	}
	f.frames = append(f.frames, frame)
	f.stays = append(f.stays, stay)
}

// write writes the film as a GIF that repeats forever. A frame holds the rectangle that changes, where pixels
// that do not change are transparent.
func (f *film) write(w io.Writer) error {
	inks := newInks(255)
	changes := make([]image.Rectangle, len(f.frames))
	for i, frame := range f.frames {
		changes[i] = f.eachChange(i, func(x, y int) { inks.counts[frame.RGBAAt(x, y)]++ })
	}
	palette := append(color.Palette{color.RGBA{}}, inks.choose()...)
	size := f.frames[0].Rect.Size()
	film := gif.GIF{Config: image.Config{ColorModel: palette, Width: size.X, Height: size.Y}}
	for i, frame := range f.frames {
		picture := image.NewPaletted(changes[i], palette)
		f.eachChange(i, func(x, y int) {
			picture.SetColorIndex(x, y, uint8(1+inks.nearest(frame.RGBAAt(x, y))))
		})
		film.Image = append(film.Image, picture)
		film.Delay = append(film.Delay, int(f.stays[i]/(10*time.Millisecond)))
		film.Disposal = append(film.Disposal, gif.DisposalNone)
	}
	return gif.EncodeAll(w, &film)
}

// eachChange calls do for each pixel of a frame that differs from the frame before it. It returns the
// rectangle around them.
func (f *film) eachChange(i int, do func(x, y int)) (all image.Rectangle) {
	frame := f.frames[i]
	for y := range frame.Rect.Dy() {
		row := frame.Pix[y*frame.Stride:][:4*frame.Rect.Dx()]
		var before []uint8
		if i > 0 {
			before = f.frames[i-1].Pix[y*frame.Stride:][:len(row)]
			if bytes.Equal(row, before) {
				continue
			}
		}
		for x := range frame.Rect.Dx() {
			if i == 0 || !bytes.Equal(row[4*x:4*x+4], before[4*x:4*x+4]) {
				all = all.Union(image.Rect(x, y, x+1, y+1))
				do(x, y)
			}
		}
	}
	return all
}

// inks are the few colors that stand for all colors of some pictures.
type inks struct {
	most   int // the length of the palette
	counts map[color.RGBA]int
	chosen []color.RGBA
	index  map[color.RGBA]int // of the nearest chosen color
}

func newInks(most int) *inks {
	return &inks{most: most, counts: map[color.RGBA]int{}, index: map[color.RGBA]int{}}
}

// choose makes a palette: again and again the color that is frequent and far from those in the palette.
func (k *inks) choose() (palette color.Palette) {
	number := func(c color.RGBA) int { return int(c.R)<<16 | int(c.G)<<8 | int(c.B) }
	all := slices.SortedFunc(maps.Keys(k.counts), func(a, b color.RGBA) int {
		return cmp.Or(k.counts[b]-k.counts[a], number(a)-number(b))
	})
	far := make([]int, len(all)) // from the nearest color of the palette
	for i := range far {
		far[i] = 1
	}
	for next := 0; len(palette) < k.most && len(all) > 0 && far[next] > 0; {
		chosen := all[next]
		palette = append(palette, chosen)
		k.chosen = append(k.chosen, chosen)
		far[next] = 0
		for i, c := range all {
			if d := distance(c, chosen); len(palette) == 1 || d < far[i] {
				far[i] = d
			}
			if k.counts[c]*far[i] > k.counts[all[next]]*far[next] {
				next = i
			}
		}
	}
	return palette
}

// nearest is the index of the chosen color that is nearest to a color.
func (k *inks) nearest(c color.RGBA) int {
	if i, ok := k.index[c]; ok {
		return i
	}
	best := 0
	for i, d := range k.chosen {
		if distance(c, d) < distance(c, k.chosen[best]) {
			best = i
		}
	}
	k.index[c] = best
	return best
}

// distance says how different two colors look.
func distance(a, b color.RGBA) int {
	red, green, blue := int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B)
	return 2*red*red + 4*green*green + 3*blue*blue
}

// A film, decoded, shows every frame, each pixel in the nearest color of the palette.
func TestFilm(t *testing.T) {
	var f film
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		frame := image.NewRGBA(image.Rect(0, 0, 60, 40))
		if i > 0 {
			copy(frame.Pix, f.frames[i-1].Pix)
		}
		spot := image.Rect(random.IntN(60), random.IntN(40), random.IntN(60), random.IntN(40))
		c := color.RGBA{uint8(random.IntN(256)), uint8(random.IntN(256)), uint8(random.IntN(256)), 255}
		if i == 0 {
			spot = frame.Rect
		}
		draw.Draw(frame, spot, image.NewUniform(c), image.Point{}, draw.Src)
		for range 30 {
			c.R, c.G = uint8(random.IntN(256)), uint8(random.IntN(256))
			frame.SetRGBA(random.IntN(60), random.IntN(40), c)
		}
		f.add(frame, 50*time.Millisecond)
		f.add(frame, 20*time.Millisecond)
	}
	require.Len(t, f.frames, 20, "equal frames are one")
	var file bytes.Buffer
	require.NoError(t, f.write(&file))
	got, err := gif.DecodeAll(&file)
	require.NoError(t, err)
	require.Zero(t, got.LoopCount)
	require.Len(t, got.Image, len(f.frames))
	screen := image.NewRGBA(f.frames[0].Rect)
	inks := inks{index: map[color.RGBA]int{}}
	for _, c := range got.Config.ColorModel.(color.Palette)[1:] {
		inks.chosen = append(inks.chosen, color.RGBAModel.Convert(c).(color.RGBA))
	}
	require.Len(t, inks.chosen, 255)
	for i, picture := range got.Image {
		require.Equal(t, 7, got.Delay[i])
		draw.Draw(screen, picture.Rect, picture, picture.Rect.Min, draw.Over)
		want := image.NewRGBA(screen.Rect)
		for y := range 40 {
			for x := range 60 {
				want.SetRGBA(x, y, inks.chosen[inks.nearest(f.frames[i].RGBAAt(x, y))])
			}
		}
		require.Equal(t, want.Pix, screen.Pix, "frame %d", i)
	}
}

package gpumodel

import (
	"fmt"
	"math"
)

// Time is what the model says about a kernel in a step, in µs. Lead + Fill + Stream + Tail is its time.
type Time struct {
	Name  string
	Count int     // launches in the step
	Bytes float64 // read from DRAM for one launch
	Waves float64 // rounds of work of the busiest block
	Lead  float64 // until it starts
	Fill  float64 // from its start until it multiplies: latencies, its input, RMSNorm
	// Stream is the longest of reading from DRAM, reading from L2, and issuing instructions. Bound names it.
	Stream float64
	Tail   float64 // from its last byte to its end
	Bound  string
}

// Total is the kernel's time.
func (t *Time) Total() float64 { return t.Lead + t.Fill + t.Stream + t.Tail }

// Prediction is the times of a step's kernels, in the order of their first launch.
type Prediction struct {
	Kernels []Time
	Host    float64 // between the graphs of two steps
	Bytes   float64 // read in a step
}

// Total is the time of a step in µs.
func (p *Prediction) Total() float64 {
	total := p.Host
	for _, k := range p.Kernels {
		total += float64(k.Count) * k.Total()
	}
	return total
}

// Rate is the tokens a second of all sequences.
func (p *Prediction) Rate(tokens int) float64 { return float64(tokens) * 1e6 / p.Total() }

// clock walks through the launches of a step.
type clock struct {
	*Card
	*Step
	// idle is how long DRAM has had nothing to do since the last product's last request, in µs. The next
	// product can read its first weights in this time, if it requests them early or its predecessor does.
	idle  float64
	first bool // the next launch is the first of its graph
}

// Predict returns what the model says about a step on a card.
func Predict(c *Card, s Step) (*Prediction, error) {
	switch {
	case s.Tokens < 1 || s.Tokens > batchTokens:
		return nil, fmt.Errorf("the model covers steps of 1 to %d tokens", batchTokens)
	case s.Cached < 0:
		return nil, fmt.Errorf("%d cached tokens are not possible", s.Cached)
	}
	t := &clock{Card: c, Step: &s, first: true}
	p := &Prediction{Host: hostTurn}
	if s.Ahead {
		p.Host = hostBehind
	}
	list := []operation{{name: "embed", work: small}}
	for range s.Config.Layers {
		list = append(list, s.layer(c)...)
	}
	for _, o := range append(list, s.head(c)...) {
		k, err := t.launch(&o)
		if err != nil {
			return nil, err
		}
		p.add(k)
		p.Bytes += k.Bytes
	}
	return p, nil
}

// add averages the launches of one name. The first layer's differ from those of the other layers.
func (p *Prediction) add(k Time) {
	for i := range p.Kernels {
		sum := &p.Kernels[i]
		if sum.Name != k.Name {
			continue
		}
		n := float64(sum.Count)
		for _, v := range []struct{ sum, one *float64 }{
			{&sum.Lead, &k.Lead}, {&sum.Fill, &k.Fill}, {&sum.Stream, &k.Stream}, {&sum.Tail, &k.Tail},
		} {
			*v.sum = (*v.sum*n + *v.one) / (n + 1)
		}
		sum.Bound = k.Bound
		sum.Count++
		return
	}
	k.Count = 1
	p.Kernels = append(p.Kernels, k)
}

// overlaps reports whether a kernel starts before its predecessor has ended.
func (t *clock) overlaps() bool { return t.Overlap && t.Dependent }

func (t *clock) launch(o *operation) (Time, error) {
	k := Time{Name: o.name, Lead: gap, Waves: 1}
	if t.overlaps() && !t.first {
		k.Lead = early
	}
	t.first = false
	switch {
	case o.attention:
		t.attend(&k)
	case o.rows > 0:
		e, err := t.evidence(t.Card, o)
		if err != nil {
			return k, err
		}
		t.product(&k, o, e)
	default:
		k.Stream, k.Bound = o.work, "latency"
		t.idle += k.Total()
	}
	return k, nil
}

// product is the time of a matrix product.
func (t *clock) product(k *Time, o *operation, e evidence) {
	weights := float64(o.rows) * float64(o.k)
	k.Bytes = weights * bits[o.format] / 8
	t.usualBlocks(o, &e)
	tileRows, inFlight := t.tile(e)
	if e.groups() {
		tileRows = 8
	}
	tiles := math.Ceil(float64(o.rows) / tileRows)
	blocks := math.Min(tiles, float64(t.SMs*e.blocks))
	k.Waves = tiles / blocks

	// The last round of tiles may have too few blocks to keep DRAM busy.
	perBlock := inFlight / float64(e.blocks) / t.Wait // bytes/µs
	rate := func(blocks float64) float64 { return math.Min(t.ReadRate()*steady, blocks*perBlock) }
	last := tiles - blocks*math.Floor(k.Waves)
	dram := k.Bytes * (tiles - last) / tiles / rate(blocks)
	if last > 0 {
		dram += k.Bytes * last / tiles / rate(last)
	}

	k.Fill, k.Tail = t.input(o, e), finish
	ring := t.inRing(o, k.Bytes)
	early := t.early(k.Bytes, k.Bytes/tiles, ring)
	if early == 0 {
		k.Fill += t.Wait
	}
	t.idle += k.Lead + k.Fill
	hidden := math.Min(early, t.idle*t.ReadRate()*steady)
	k.Stream, k.Bound = dram*(1-hidden/k.Bytes), "DRAM"
	reads := tiles
	if e.groups() { // two groups read the tokens once
		reads = math.Max(blocks, tiles/2)
	}
	if l2 := (k.Bytes - ring + t.inputBytes(o, reads)) / t.L2Rate; l2 > k.Stream {
		k.Stream, k.Bound = l2, "L2"
	}
	// The busiest multiprocessor decides.
	busiest := math.Ceil(tiles/float64(t.SMs)) * tileRows * float64(o.k)
	if e.groups() {
		busiest = t.busiestTiles(tiles, e) * 16 * float64(o.k)
	}
	if issued := busiest * e.perWeight / (lanes * t.Clock * issue); issued > k.Stream {
		k.Stream, k.Bound = issued, "instructions"
	}
	if math8 := busiest * t.mmaTokens() / (t.FMAs * t.Clock); math8 > k.Stream {
		k.Stream, k.Bound = math8, "tensor cores"
	}
	t.idle = k.Tail
}

// tile is the weight rows that a block takes at once, and the bytes that a multiprocessor requests ahead.
func (t *clock) tile(e evidence) (rows, inFlight float64) {
	switch {
	case t.Tokens <= decodeTokens:
		rows = 16
	case !t.Batch:
		rows = 128
	case t.batchSize() <= 32:
		rows = 32
	default:
		rows = 64
	}
	if inFlight = e.inFlight; inFlight == 0 { // a warp waits for each of its stages
		inFlight = float64(e.blocks * 8 << 10)
	}
	return rows, inFlight
}

// busiestTiles is what the busiest multiprocessor executes, in tiles of two row groups. Its blocks are the
// first and, where it has more, each a number of multiprocessors further on. A block takes its row groups in
// pairs; one that is left over takes a shorter loop.
func (t *clock) busiestTiles(groups float64, e evidence) (tiles float64) {
	blocks := float64(t.SMs * e.blocks)
	for i := range e.blocks {
		own := math.Ceil((groups - float64(i*t.SMs)) / blocks)
		if own <= 0 {
			break
		}
		pairs := math.Floor(own / 2)
		tiles += pairs + (own-2*pairs)*e.single
	}
	return tiles
}

// mmaTokens is how many tokens the tensor cores compute.
func (t *clock) mmaTokens() float64 {
	if t.Tokens > decodeTokens && !t.Batch {
		return 128
	}
	return math.Ceil(float64(t.Tokens)/8) * 8
}

// early is how many bytes of a product can be read before it starts to multiply. The rings begin with the
// same tiles as the prefetch, so what the rings take of a tile is not prefetched in addition.
func (t *clock) early(bytes, tile, ring float64) float64 {
	n := ring
	if t.Prefetch {
		fetched := math.Min(prefetchMost, t.L2/4)
		if ring > 0 {
			fetched *= math.Max(0, 1-overlapRing/tile)
		}
		n += fetched
	}
	return math.Min(n, bytes)
}

// inRing is how many bytes of a product are in shared memory before its predecessor has ended: a ring on each
// multiprocessor, where a block with such a ring leaves room for one of the next product.
func (t *clock) inRing(o *operation, bytes float64) float64 {
	if !t.longRing(o) {
		return 0
	}
	return math.Min(float64(t.SMs)*overlapRing, bytes)
}

// longRing reports whether a product is launched with one block and a long ring on a multiprocessor. The
// kernels for quantized weights have rings of one size.
func (t *clock) longRing(o *operation) bool {
	return t.overlaps() && t.Tokens <= decodeTokens && !o.format.Quantized() && t.fits(2, overlapRing, o)
}

// fits reports whether a multiprocessor has room for so many blocks of a decode product with a ring.
func (t *clock) fits(blocks, ring int, o *operation) bool {
	const system = 1 << 10 // bytes for each block
	shared := sums + ring
	if o.normed {
		shared += t.Tokens * (o.k + 8) * 2
	}
	return blocks*(shared+system) <= t.Shared+system
}

// usualBlocks corrects the blocks of a decode product. The table of kernels is for one token, and for the
// longer rings where launches may overlap.
func (t *clock) usualBlocks(o *operation, e *evidence) {
	several := o.normed && t.Tokens > 1
	tableIsLong := t.Dependent && !o.format.Quantized()
	if t.Tokens > decodeTokens || !several && !tableIsLong || t.longRing(o) {
		return
	}
	perBlock := e.inFlight / float64(e.blocks)
	if tableIsLong {
		perBlock = usualRing
	}
	e.blocks = 1
	if t.fits(2, usualRing, o) {
		e.blocks = 2
	}
	e.inFlight = perBlock * float64(e.blocks)
}

// input is how long the product's input takes, from the start or the end of the wait until it is there.
func (t *clock) input(o *operation, e evidence) float64 {
	if !o.normed {
		return t.Hit
	}
	// Each block reads all tokens twice, for the sum of squares and for the product.
	bytes := 2 * 4 * float64(t.Tokens) * float64(o.k) * float64(e.blocks)
	return norm + bytes/(fromL2*t.Clock)
}

// inputBytes is what the blocks read from L2 besides weights: without a norm, the tokens for each tile.
func (t *clock) inputBytes(o *operation, tiles float64) float64 {
	if o.normed {
		return 0
	}
	return tiles * float64(t.Tokens) * float64(o.k) * 2
}

// attend is the time of decode attention. Its work items are chunks of 128 keys of a sequence and kv head.
func (t *clock) attend(k *Time) {
	m := t.Config
	cached := t.Cached
	if m.SlidingWindow > 0 {
		cached = min(cached, m.SlidingWindow)
	}
	k.Bytes = float64(t.Tokens) * float64(cached) * float64(2*m.KVHeads*m.HeadDim) * 2
	e := table[t.Arch][fmt.Sprint("attention_decode_", m.HeadDim)]
	chunks := float64(cached/kvChunk + 1)
	items := chunks * float64(m.KVHeads*t.Tokens)
	k.Waves = items / float64(t.SMs*max(1, e.blocks))

	// Span, block table, work item and count are loaded one after the other, then keys and values.
	k.Fill = 4*t.Hit + t.Wait
	reading := k.Bytes / (t.ReadRate() * steady)
	dram := reading
	if t.overlaps() { // all of these are loaded before the wait
		k.Fill = t.Hit
		dram -= math.Min(dram, k.Lead+k.Fill+t.idle)
	}
	// Items of later rounds wait for their keys and values.
	rounds := math.Ceil(k.Waves)
	item := chunkClocks / t.Clock
	k.Stream, k.Bound = item*rounds+t.Wait*(rounds-1), "latency"
	if dram > k.Stream {
		k.Stream, k.Bound = dram, "DRAM"
	}
	join := float64(serialClocks)
	if t.Join {
		join = joinClocks
	}
	k.Tail = merge + chunks*join/t.Clock
	if t.Join && chunks == 1 { // which stores the result itself
		k.Tail = finish
	}
	t.idle = math.Max(0, t.idle+k.Total()-reading)
}

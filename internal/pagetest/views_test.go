//go:build !race

package pagetest

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"phi3/internal/nexttoken"
)

// prompts are what the views are compared with phi3 next-token for.
var prompts = []struct {
	text string
	chat bool
}{
	{"The capital of Germany is", false},
	{"Who wrote Hamlet?", true},
	{"2 + 2 = 4 🎉 日本\n\té", false},
}

// view opens a view of a prompt.
func (s *site) view(name, prompt string, chat bool) *tab {
	s.t.Helper()
	state := []string{"view", strconv.Quote(name), "prompt", asJSON(s.t, prompt)}
	if chat {
		state = append(state, "chat", "true")
	}
	return s.open(fragment(state...), look{})
}

// number is a number as JavaScript writes it.
func number(t testing.TB, text string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return value
}

// logit is a float32 as JavaScript writes it.
func logit(t testing.TB, text string) float32 { return float32(number(t, text)) }

// join is the list of ids as the grid has it.
func join(ids []int32) string {
	var all []string
	for _, id := range ids {
		all = append(all, strconv.Itoa(int(id)))
	}
	return strings.Join(all, ",")
}

func TestTokens(t *testing.T) {
	s := start(t, setup{})
	for _, prompt := range prompts {
		p := s.view("tokens", prompt.text, prompt.chat)
		ids := s.ids(prompt.text, prompt.chat)
		p.until(`document.querySelectorAll("#tokens-text [role=option]").length == %s`, len(ids))
		var text []byte
		for i, option := range p.data("#tokens-text [role=option]") {
			require.Equal(t, strconv.Itoa(i), option["position"])
			require.Equal(t, strconv.Itoa(int(ids[i])), option["tokenId"])
			piece, err := hex.DecodeString(option["bytes"])
			require.NoError(t, err)
			text = append(text, piece...)
		}
		require.Contains(t, string(text), prompt.text, "the bytes are the text")
		require.Equal(t, strconv.Itoa(len(ids)), p.data("#tokens-summary")[0]["tokens"])

		const id = `document.querySelector("#token-details [data-detail=id]").textContent == %s`
		p.hover("#tokens-text [data-position='0']")
		p.until(id, strconv.Itoa(int(ids[0])))
		p.tabTo("#tokens-text [role=option]")
		p.press(kb.ArrowRight)
		p.until(id, strconv.Itoa(int(ids[1])))
		p.press(kb.End)
		p.until(id, strconv.Itoa(int(ids[len(ids)-1])))
	}
}

// Every cell of the grid is what next-token says about the text up to its position.
func TestLayers(t *testing.T) {
	s := start(t, setup{})
	for _, prompt := range prompts {
		p := s.view("layers", prompt.text, prompt.chat)
		ids := s.ids(prompt.text, prompt.chat)
		p.until(`document.querySelector(".lens-grid[data-done=true]")?.dataset.ids == %s`, join(ids))
		cells := p.data(".lens-cell")
		require.Len(t, cells, (s.model.Config.Layers+1)*len(ids))
		reports := make([]*nexttoken.Report, len(ids))
		for i := range ids {
			reports[i] = s.report(ids[:i+1], nexttoken.Options{Top: 10, Layers: true})
		}
		for _, cell := range cells {
			layer, position := int(number(t, cell["layer"])), int(number(t, cell["position"]))
			want := reports[position].Layers[layer].Top[0]
			require.Equal(t, strconv.Itoa(int(want.ID)), cell["id"])
			require.Equal(t, want.Probability, number(t, cell["probability"]), cell)
			require.Equal(t, strconv.FormatBool(want.ID == reports[position].Argmax.ID), cell["final"])
		}
		checkPanel(p, ids, reports)
		checkContributions(p, reports[len(ids)-1])
	}
}

// checkPanel looks at cells with the mouse and the keyboard.
func checkPanel(p *tab, ids []int32, reports []*nexttoken.Report) {
	p.t.Helper()
	last := len(ids) - 1
	shows := func(layer, position int) {
		p.t.Helper()
		p.until(`(e => e?.dataset.layer == %s && e.dataset.position == %s)(document.querySelector(".lens-panel"))`,
			strconv.Itoa(layer), strconv.Itoa(position))
		for i, line := range p.data(".lens-top li")[:3] {
			want := reports[position].Layers[layer].Top[i]
			require.Equal(p.t, strconv.Itoa(int(want.ID)), line["id"])
			require.Equal(p.t, want.Probability, number(p.t, line["probability"]))
			require.Equal(p.t, want.Logit, logit(p.t, line["logit"]))
		}
	}
	p.hover(".lens-cell[data-layer='2'][data-position='1']")
	shows(2, 1)
	p.tabTo(".lens-cell")
	shows(p.site.model.Config.Layers, last)
	p.press(kb.ArrowUp, kb.ArrowLeft)
	shows(p.site.model.Config.Layers-1, last-1)
	p.press(kb.Enter)
	p.until(`location.hash.includes(%s)`, fragment("cell", fmt.Sprintf("[%d,%d]", p.site.model.Config.Layers-1, last-1)))
	p.press(kb.Escape)
}

// checkContributions compares the parts of the answer's logit with their sum and with the logit.
func checkContributions(p *tab, r *nexttoken.Report) {
	p.t.Helper()
	p.until(`document.querySelector(".lens-bars")?.dataset.token == %s`, strconv.Itoa(int(r.Argmax.ID)))
	bars := p.data(".lens-bars")[0]
	require.Equal(p.t, r.Argmax.Logit, logit(p.t, bars["logit"]))
	sum, parts := 0.0, 0
	for _, bar := range p.data(".lens-bars rect[data-part]") {
		sum += number(p.t, bar["value"])
		parts++
	}
	require.Equal(p.t, 1+2*p.site.model.Config.Layers, parts)
	require.InDelta(p.t, number(p.t, bars["sum"]), sum, 1e-9)
	require.InDelta(p.t, r.Argmax.Logit, sum, 0.15, "up to the rounding to bfloat16")
}

// Every weight of every head is that of next-token about the text up to the position that looks.
func TestAttention(t *testing.T) {
	s := start(t, setup{})
	const prompt = "The capital of France is Paris. The capital of Germany is"
	p, ids := s.view("attention", prompt, false), s.ids(prompt, false)
	p.until(`document.querySelector("#matrix")`)
	p.click("summary")
	p.until(`document.querySelector("#weights")`)
	for layer := 1; layer <= s.model.Config.Layers; layer++ {
		p.until(`document.querySelector("#matrix").dataset.layer == %s`, strconv.Itoa(layer))
		for head := 1; head <= s.model.Config.Heads; head++ {
			p.click(fmt.Sprintf("#head-%d", head))
			p.until(`document.querySelector("#weights").dataset.head == %s`, strconv.Itoa(head))
			p.tabTo("#matrix")
			p.press(kb.Home)
			query := int(number(t, p.data("#matrix")[0]["query"]))
			for range 3 {
				p.until(`document.querySelector("#weights").dataset.query == %s`, strconv.Itoa(query))
				r := s.report(ids[:query+1], nexttoken.Options{Top: 1, Layer: layer, Head: head})
				var weights []float64
				for _, line := range p.data("#weights tr[data-key]") {
					weights = append(weights, number(t, line["weight"]))
				}
				require.Equal(t, r.Attention.Heads[0].Weights, weights, "layer %d, head %d", layer, head)
				first := number(t, p.data("#matrix")[0]["weight"])
				require.Equal(t, weights[0], first, "Home goes to the first token")
				p.press(kb.ArrowUp)
				query--
			}
			p.press(kb.ArrowDown, kb.ArrowDown, kb.ArrowDown)
		}
		p.tabTo("#layer")
		p.press(kb.ArrowRight)
	}
	// The mouse looks at a cell, and a link keeps it.
	p.hover("#matrix canvas")
	p.until(`document.querySelector("#matrix").dataset.key`)
	cell := p.data("#matrix")[0]
	query, key := int(number(t, cell["query"])), int(number(t, cell["key"]))
	r := s.report(ids[:query+1], nexttoken.Options{
		Top: 1, Layer: s.model.Config.Layers, Head: s.model.Config.Heads,
	})
	require.Equal(t, r.Attention.Heads[0].Weights[key], number(t, cell["weight"]))
}

// nextBars waits for the bars of a text.
func (p *tab) nextBars() []map[string]string {
	p.t.Helper()
	p.until(`document.querySelector("#next-view[data-current=true] #next-bars .bar")`)
	return p.data("#next-bars .bar")
}

// requireModel compares bars with the model's own distribution.
func (p *tab) requireModel(bars []map[string]string, ids []int32) {
	p.t.Helper()
	r := p.site.report(ids, nexttoken.Options{Top: len(bars)})
	for i, bar := range bars {
		want := r.Top[i]
		require.Equal(p.t, strconv.Itoa(want.Rank), bar["rank"])
		require.Equal(p.t, strconv.Itoa(int(want.ID)), bar["tokenId"])
		require.Equal(p.t, want.Logit, logit(p.t, bar["logit"]))
		require.Equal(p.t, want.Probability, number(p.t, bar["probability"]))
	}
	entropy := 0.0
	for _, c := range p.site.report(ids, nexttoken.Options{Top: r.Vocab}).Top {
		if c.Probability > 0 {
			entropy -= c.Probability * math.Log(c.Probability)
		}
	}
	require.InDelta(p.t, entropy, number(p.t, p.data("#next-facts")[0]["entropy"]), 1e-9)
}

func TestNext(t *testing.T) {
	s := start(t, setup{})
	for _, prompt := range prompts {
		p := s.view("next", prompt.text, prompt.chat)
		bars := p.nextBars()
		require.GreaterOrEqual(t, len(bars), 10)
		p.requireModel(bars, s.ids(prompt.text, prompt.chat))
	}

	// A setting crosses out what it removes.
	p, ids := s.view("next", prompts[0].text, false), s.ids(prompts[0].text, false)
	p.nextBars()
	p.tabTo("#top_k-number")
	eval[bool](p, "(document.activeElement.select(), true)")
	p.press("3")
	p.until(`document.querySelector(".step[data-step=top_k]").dataset.kept == "3" &&
		document.querySelector("#next-view").dataset.current == "true"`)
	total := 0.0
	for i, bar := range p.nextBars() {
		total += number(t, bar["after"])
		if i < 3 {
			require.NotContains(t, bar, "removed")
			continue
		}
		require.Equal(t, "top_k", bar["removed"])
		require.Equal(t, "0", bar["after"])
	}
	require.InDelta(t, 1, total, 1e-9)
	p.tabTo("#temperature")
	p.press(kb.Home) // 0: only the best token remains
	p.until(`document.querySelector(".step[data-step=temperature]").dataset.kept == "1"`)
	p.click("#all-off")
	p.until(`document.querySelector(".step[data-step=min_p]").dataset.kept == %s`, strconv.Itoa(s.model.Config.VocabSize))

	// A click takes a token, and the keyboard takes another one: the text becomes a tree.
	bars := p.nextBars()
	second, best := int32(number(t, bars[1]["tokenId"])), int32(number(t, bars[0]["tokenId"]))
	p.click("#next-bars .bar:nth-of-type(2) .hit")
	p.until(`document.querySelector("#count").dataset.used == %s`, strconv.Itoa(len(ids)+1))
	p.requireModel(p.nextBars(), append(slices.Clone(ids), second))
	p.until(`location.hash.includes(%s)`, fragment("branch", fmt.Sprintf("[%d]", second)))
	p.click("#back")
	p.nextBars()
	p.tabTo("#next-bars .bar")
	p.press(kb.Home, kb.Enter)
	p.until(`document.querySelector("#count").dataset.used == %s`, strconv.Itoa(len(ids)+1))
	p.requireModel(p.nextBars(), append(slices.Clone(ids), best))
	var paths []string
	for _, node := range p.data("#next-tree .node") {
		paths = append(paths, node["path"])
	}
	require.Contains(t, paths, fmt.Sprintf("[%d]", second))
	require.Contains(t, paths, fmt.Sprintf("[%d]", best))
}

func TestCache(t *testing.T) {
	s := start(t, setup{})
	for i, prompt := range prompts[:2] {
		p, ids := s.view("cache", prompt.text, prompt.chat), s.ids(prompt.text, prompt.chat)
		p.used(len(ids))
		p.until(`!document.querySelector(".controls .action").disabled`)
		if i == 0 {
			p.click(".controls .action")
		} else {
			p.tabTo(".controls .action")
			p.press(kb.Enter)
		}
		p.until(`document.querySelector("#verdict")?.dataset.verdict == "good"`)
		totals := p.data("#totals")[0]
		require.Equal(t, "done", totals["state"])
		steps := int(number(t, totals["steps"]))
		require.Equal(t, totals["steps"], p.data("#verdict")[0]["rows"])
		require.Greater(t, steps, 1)
		require.Equal(t, len(ids)+steps-1, int(number(t, totals["computedCached"])))
		require.Equal(t, steps*len(ids)+steps*(steps-1)/2, int(number(t, totals["computedPlain"])))
		kv := 2 * s.model.Config.Layers * s.model.Config.KVHeads * s.model.Config.HeadDim * 2
		for _, lane := range p.data(".lane") {
			computed, read := 1, len(ids)+steps-2
			kept := len(ids) + steps - 1
			if lane["lane"] == "plain" {
				computed, read, kept = len(ids)+steps-1, 0, 0
			}
			require.Equal(t, computed, int(number(t, lane["computed"])))
			require.Equal(t, read, int(number(t, lane["read"])))
			require.Equal(t, kept*kv, int(number(t, lane["bytes"])))
		}
		hashes := map[string]bool{}
		for _, lane := range p.data(".lane") {
			hashes[lane["hash"]] = true
		}
		require.Len(t, hashes, 1, "the same bits")
	}
}

// paths are the endpoints of the views.
var paths = map[string]string{
	"layers": "/explore/layers", "attention": "/explore/attention", "next": "/explore/next",
	"cache": "/explore/cache",
}

// pause waits for longer than the page waits for more typing.
func (p *tab) pause() {
	p.t.Helper()
	eval[bool](p, "new Promise(done => setTimeout(() => done(true), 500))")
}

// A view that is not open asks for nothing.
func TestClosedViews(t *testing.T) {
	s := start(t, setup{})
	for _, open := range []string{"tokens", "cache"} {
		p := s.view(open, "The capital of Germany is", false)
		p.used(5)
		p.typeIn("Hello")
		p.used(1)
		p.pause()
		for _, path := range paths {
			require.Zero(t, s.count(path), "%s with %s open", path, open)
		}
	}
	p := s.view("next", "Hello", false)
	p.nextBars()
	require.Zero(t, s.count(paths["layers"]))
	require.Zero(t, s.count(paths["attention"]))
	before := s.count(paths["next"])
	p.click("#tab-tokens")
	p.typeIn("The capital of")
	p.used(3)
	p.pause()
	require.Equal(t, before, s.count(paths["next"]), "the view has been closed")
}

// A new prompt, and another view, cancel what the open view is computing.
func TestViewsCancel(t *testing.T) {
	for _, name := range []string{"layers", "attention", "next"} {
		s := start(t, setup{})
		release := s.hold(paths[name])
		p := s.view(name, "Hello", false)
		begun := func(n int) {
			t.Helper()
			require.Eventually(t, func() bool { return s.count(paths[name]) >= n }, patience, interval)
		}
		cancelled := func(n int) {
			t.Helper()
			require.Eventually(t, func() bool {
				return s.countCancelled(paths[name]) >= n
			}, patience, interval, name)
		}
		begun(1)
		p.typeIn("The capital of")
		cancelled(1)
		begun(2)
		p.click("#tab-tokens")
		cancelled(2)
		release()
	}
	s := start(t, setup{})
	release := s.hold(paths["cache"])
	p := s.view("cache", "Hello", false)
	p.until(`document.querySelector(".controls .action:not(:disabled)")`)
	p.click(".controls .action")
	require.Eventually(t, func() bool { return s.count(paths["cache"]) == 1 }, patience, interval)
	p.click("#tab-tokens")
	require.Eventually(t, func() bool { return s.countCancelled(paths["cache"]) == 1 }, patience, interval)
	release()
}

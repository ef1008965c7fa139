//go:build !race

package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must happen. Only a failing test waits so long.
const patience = 3 * time.Minute

// interval is the pause between two looks at what must happen.
const interval = 10 * time.Millisecond

// browser is the one browser of all tests, which starts with the first test that needs it.
var browser struct {
	once sync.Once
	ctx  context.Context
	end  func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if browser.end != nil {
		browser.end()
	}
	os.Exit(code)
}

// chromium finds the browser.
func chromium() string {
	if path := os.Getenv("PHI3_CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// started returns the context of the running browser.
func started(t testing.TB) context.Context {
	t.Helper()
	path := chromium()
	if path == "" {
		t.Skip("this test needs Chromium: apt install chromium, or set $PHI3_CHROMIUM to the path of Chrome")
	}
	browser.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
			chromedp.WSURLReadTimeout(patience), chromedp.DisableGPU,
			chromedp.Flag("disable-background-networking", true),
			chromedp.Flag("disable-dev-shm-usage", true))
		if os.Getuid() == 0 { // Chromium's sandbox refuses root
			options = append(options, chromedp.NoSandbox)
		}
		allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		// cdproto does not know every event of a newer Chromium, and says so for each.
		ctx, endBrowser := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
		browser.ctx, browser.err = ctx, chromedp.Run(ctx)
		browser.end = func() {
			endBrowser()
			endAllocator()
		}
	})
	require.NoError(t, browser.err)
	return browser.ctx
}

// look is what a tab looks like.
type look struct {
	width, height int64 // 0: 1280 × 800
	dark          bool
}

// tab is a tab of the browser with the page in it. Whatever the page complains about fails the test at its
// end, as does every request to another server.
type tab struct {
	t    testing.TB
	site *site
	ctx  context.Context

	mu       sync.Mutex
	troubles []string // errors and warnings of the console, exceptions, dialogs, violations of the policy
	foreign  []string // requests to other servers
}

// open opens the page in a new tab. The fragment is what comes after #, "" for none.
func (s *site) open(fragment string, o look) *tab {
	s.t.Helper()
	ctx, end := chromedp.NewContext(started(s.t))
	p := &tab{t: s.t, site: s, ctx: ctx}
	chromedp.ListenTarget(ctx, p.listen)
	s.t.Cleanup(func() {
		p.clean()
		end()
	})
	if o.width == 0 {
		o.width, o.height = 1280, 800
	}
	scheme := "light"
	if o.dark {
		scheme = "dark"
	}
	require.NoError(s.t, chromedp.Run(ctx)) // the tab ends with the context of this call
	p.run(
		log.Enable(), network.Enable(), runtime.Enable(), cdppage.Enable(),
		emulation.SetFocusEmulationEnabled(true),
		emulation.SetDeviceMetricsOverride(o.width, o.height, 1, o.width < 600),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}),
	)
	p.visit(fragment)
	return p
}

// visit loads the page anew, with a fragment. A navigation to another fragment alone would load nothing.
func (p *tab) visit(fragment string) {
	p.t.Helper()
	p.run(chromedp.Navigate(p.site.url+blank), chromedp.Navigate(p.site.url+"/#"+fragment))
}

func (p *tab) run(actions ...chromedp.Action) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Run(ctx, actions...))
}

func (p *tab) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	trouble := func(format string, args ...any) {
		p.troubles = append(p.troubles, fmt.Sprintf(format, args...))
	}
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var all []string
		for _, arg := range e.Args {
			all = append(all, string(arg.Value)+arg.Description)
		}
		trouble("console.%s: %s", e.Type, strings.Join(all, " "))
	case *runtime.EventExceptionThrown:
		trouble("exception: %s", e.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		trouble("log: %s %s", e.Entry.Text, e.Entry.URL)
	case *cdppage.EventJavascriptDialogOpening:
		trouble("dialog: %s", e.Message)
		go func() { _ = chromedp.Run(p.ctx, cdppage.HandleJavaScriptDialog(false)) }()
	case *network.EventRequestWillBeSent:
		url := e.Request.URL
		own := strings.HasPrefix(url, p.site.url+"/") || url == "about:blank" ||
			strings.HasPrefix(url, "data:") || strings.HasPrefix(url, "blob:"+p.site.url+"/")
		if !own {
			p.foreign = append(p.foreign, url)
		}
	}
}

// clean requires that nothing went wrong in the tab, except the troubles that contain one of the texts.
func (p *tab) clean(expected ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p.t, p.foreign, "requests to other servers")
	for _, trouble := range p.troubles {
		known := false
		for _, text := range expected {
			known = known || strings.Contains(trouble, text)
		}
		require.True(p.t, known, trouble)
	}
	p.troubles = nil
}

// asJSON is the JSON of a value.
func asJSON(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	return string(data)
}

// eval evaluates an expression of JavaScript, which may be a promise. Each %s in it stands for the JSON of an
// argument.
func eval[T any](p *tab, code string, args ...any) T {
	p.t.Helper()
	parts := strings.Split(code, "%s")
	require.Len(p.t, parts, len(args)+1)
	for i, arg := range args {
		parts[i] += asJSON(p.t, arg)
	}
	var value T
	wait := func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }
	p.run(chromedp.Evaluate(strings.Join(parts, ""), &value, wait))
	return value
}

// until waits until an expression of JavaScript is true.
func (p *tab) until(code string, args ...any) {
	p.t.Helper()
	for end := time.Now().Add(patience); !eval[bool](p, "!!("+code+")", args...); {
		require.True(p.t, time.Now().Before(end), "never true: %s %s\n%s", code, args,
			eval[string](p, "document.body.innerText"))
		time.Sleep(interval)
	}
}

// texts are the texts of all elements that match a selector.
func (p *tab) texts(selector string) []string {
	p.t.Helper()
	return eval[[]string](p, "[...document.querySelectorAll(%s)].map(e => e.textContent)", selector)
}

// data are the data-attributes of all elements that match a selector.
func (p *tab) data(selector string) []map[string]string {
	p.t.Helper()
	return eval[[]map[string]string](p,
		"[...document.querySelectorAll(%s)].map(e => ({...e.dataset}))", selector)
}

// click clicks on the middle of the first element that matches a selector, with the mouse.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.run(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

// hover moves the mouse to the middle of the first element that matches a selector.
func (p *tab) hover(selector string) {
	p.t.Helper()
	at := eval[[]float64](p, `(e => { e.scrollIntoView({ block: "center", inline: "center" });
		const r = e.getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2] })(document.querySelector(%s))`, selector)
	p.run(input.DispatchMouseEvent(input.MouseMoved, at[0], at[1]))
}

// press presses keys, one after another: kb.Tab, kb.Enter, or characters.
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, key := range keys {
		p.run(chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until the element that matches a selector has the focus. The mouse leaves the page first:
// what scrolls below it would react.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	p.run(input.DispatchMouseEvent(input.MouseMoved, 0, 0))
	for range 500 {
		if eval[bool](p, "document.activeElement.matches(%s)", selector) {
			return
		}
		p.press(kb.Tab)
	}
	require.Fail(p.t, "Tab never reaches "+selector)
}

// typeIn replaces the text of the prompt as a person does, with the keyboard.
func (p *tab) typeIn(prompt string) {
	p.t.Helper()
	p.run(chromedp.Focus("#prompt", chromedp.ByQuery))
	eval[bool](p, "(document.activeElement.select(), true)")
	p.run(input.InsertText(prompt))
}

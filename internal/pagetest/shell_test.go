//go:build !race

package pagetest

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

var views = []string{"tokens", "layers", "attention", "next", "cache"}

// fragment is a state of the page as a link has it: names and their JSON.
func fragment(parts ...string) string {
	values := url.Values{}
	for i := 0; i < len(parts); i += 2 {
		values.Set(parts[i], parts[i+1])
	}
	// Go and browsers differ in these two characters.
	return strings.NewReplacer("~", "%7E", "%2A", "*").Replace(values.Encode())
}

// used waits until the page has the tokens of the prompt.
func (p *tab) used(n int) {
	p.t.Helper()
	p.until(`document.querySelector("#count")?.dataset.used == %s`, n)
}

// The page begins with an example, says which model it is, and takes another prompt from the keyboard.
func TestPage(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	p.used(len(s.ids("The capital of Germany is", false)))
	facts := []string{"phi3-demo", "4 layers", "2 heads", "vocabulary 2,560", "cpu"}
	require.Equal(t, facts, p.texts(".model li"))
	require.Equal(t, "Tokens: The capital of Germany is – phi3 explore", eval[string](p, "document.title"))
	const prompt = "The capital of France is Paris. The capital of"
	p.typeIn(prompt)
	p.used(len(s.ids(prompt, false)))
	require.Equal(t, "Tokens: The capital of France is Paris. The cap… – phi3 explore",
		eval[string](p, "document.title"))
	p.until(`location.hash == "#" + new URLSearchParams({ prompt: JSON.stringify(%s) })`, prompt)

	p.click("#chat")
	p.used(len(s.ids(prompt, true)))
	p.click("button[data-example^='Who wrote']")
	p.used(len(s.ids("Who wrote Hamlet?", true)))
	require.Equal(t, []string{"Who wrote Hamlet?"}, p.texts(".examples [aria-pressed=true]"))
	require.Equal(t, "Who wrote Hamlet?", eval[string](p, `document.querySelector("#prompt").value`))
	require.True(t, eval[bool](p, `document.querySelector("#chat").checked`))
	p.click("#chat")
	p.used(len(s.ids("Who wrote Hamlet?", false)))
}

// Every control can be reached and used with the keyboard alone.
func TestKeyboard(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	p.until(`document.querySelector("#view")`)
	p.press(kb.Tab)
	require.True(t, eval[bool](p, `document.activeElement.matches(".skip")`), "the first stop")
	p.press(kb.Enter)
	require.Equal(t, "view", eval[string](p, "document.activeElement.id"))
	require.NotContains(t, eval[string](p, "location.hash"), "view", "the link is for the focus only")

	p.visit("")
	p.until(`document.querySelector("#view")`)
	p.tabTo("#theme")
	p.press(" ", " ")
	p.until(`document.documentElement.dataset.theme == "dark"`)
	p.tabTo("#prompt")
	p.tabTo("#chat")
	p.press(" ")
	p.used(len(s.ids("The capital of Germany is", true)))
	p.tabTo("button[data-example='Who wrote Hamlet?']")
	p.press(kb.Enter)
	p.used(len(s.ids("Who wrote Hamlet?", true)))
	p.tabTo("[role=tab]")
	for _, view := range append(views[1:], views[0]) {
		p.press(kb.ArrowRight)
		require.Equal(t, "tab-"+view, eval[string](p, "document.activeElement.id"))
		p.until(`document.querySelector("#view").dataset.view == %s`, view)
		require.Equal(t, []string{"tab-" + view},
			eval[[]string](p, `[...document.querySelectorAll("[role=tab][tabindex='0']")].map(e => e.id)`))
	}
	p.press(kb.End)
	p.until(`document.querySelector("#view").dataset.view == "cache"`)
	p.press(kb.Home)
	p.until(`document.querySelector("#view").dataset.view == "tokens"`)
	p.press(kb.ArrowLeft)
	p.until(`document.querySelector("#view").dataset.view == "cache"`)
	p.press(kb.Tab)
	require.Equal(t, "view", eval[string](p, "document.activeElement.id"), "the view follows its tab")
}

// A link shows what it was copied from, also if it is opened in the tab where the page is.
func TestLink(t *testing.T) {
	s := start(t, setup{})
	link := fragment("prompt", `"Who <b>wrote</b> Hamlet? ~*é"`, "chat", "true", "theme", `"dark"`,
		"branch", "[303,288]")
	p := s.open(link, look{})
	const prompt = "Who <b>wrote</b> Hamlet? ~*é"
	state := `[document.querySelector("#prompt").value, document.querySelector("#chat").checked,
		document.documentElement.dataset.theme, document.querySelector("#view").dataset.view]`
	p.used(len(s.ids(prompt, true)) + 2)
	require.Equal(t, []any{prompt, true, "dark", "tokens"}, eval[[]any](p, state))
	for _, part := range strings.Split(link, "&") { // written as the page writes it
		p.until(`location.hash.slice(1).split("&").includes(%s)`, part)
	}

	eval[bool](p, "(location.hash = %s, true)", fragment("prompt", `"Hello"`, "view", `"tokens"`))
	p.used(len(s.ids("Hello", false)))
	require.Equal(t, []any{"Hello", false, "auto", "tokens"}, eval[[]any](p, state))

	p.typeIn("The capital")
	p.used(len(s.ids("The capital", false)))
	address := eval[string](p, `new Promise(done => setTimeout(() => done(location.hash.slice(1)), 400))`)
	other := s.open(address, look{})
	other.used(len(s.ids("The capital", false)))
	require.Equal(t, []any{"The capital", false, "auto", "tokens"}, eval[[]any](other, state))
}

// A damaged link does no harm: what cannot be read is left out.
func TestDamagedLinks(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	n := len(s.ids("The capital of Germany is", false))
	for _, damaged := range []string{
		"prompt", "prompt=", "prompt=%22", "prompt=5", "prompt=null", "prompt=[]", "prompt=%ZZ%22",
		"chat=1", "chat=null", "view=%22other%22", "view=%22__proto__%22", "view=%22constructor%22",
		"view={}",
		"branch=5", "branch=[%22a%22]", "branch=[1.5]", "branch=[-1]", "branch=[1e9]", "branch=[null]",
		"branch=" + strings.Repeat("[", 20_000), "theme=%22red%22", "__proto__=5", "=&&=", "%",
		"prompt=%22The+capital+of+Germany+is%22&branch={%22length%22:1}",
	} {
		p.visit(damaged)
		p.used(n)
		require.Equal(t, "tokens", p.data("#view")[0]["view"], damaged)
		require.Empty(t, strings.Join(p.texts("#problem"), ""), damaged)
		p.clean()
	}
	// Damage to the address of an open page does none either.
	p.typeIn("Hello")
	eval[bool](p, "(location.hash = %s, true)", "prompt=%ZZ&view=5&branch=[[")
	p.used(n)
}

// The theme changes the colours, whatever the system's are.
func TestTheme(t *testing.T) {
	s := start(t, setup{})
	const back = `getComputedStyle(document.body).backgroundColor`
	light, dark := s.open("", look{}), s.open("", look{dark: true})
	light.until(`document.querySelector("#view")`)
	dark.until(`document.querySelector("#view")`)
	white, black := eval[string](light, back), eval[string](dark, back)
	require.NotEqual(t, white, black)
	for _, p := range []*tab{light, dark} {
		p.click("#theme")
		p.until(back+" == %s", white)
		p.click("#theme")
		p.until(back+" == %s", black)
	}
	light.click("#theme")
	light.until(back+" == %s", white)
	dark.click("#theme")
	dark.until(back+" == %s", black)
}

// While the model loads, the page says so, and it goes on by itself.
func TestLoading(t *testing.T) {
	s := start(t, setup{loading: true})
	p := s.open("", look{})
	p.until(`document.querySelector("#loading")`)
	require.Equal(t, []string{"The model is loading. The page tries again."}, p.texts("#problem"))
	require.Empty(t, p.texts("[role=tab]"))
	p.typeIn("Hello")
	s.ready(demo.Name)
	p.used(len(s.ids("Hello", false)))
	require.Equal(t, []string{""}, p.texts("#problem"))
	p.clean("503")
}

// A page whose server was started again with another model loads again, and keeps the prompt.
func TestOtherModel(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	p.used(len(s.ids("The capital of Germany is", false)))
	s.ready("other")
	p.typeIn("Hello")
	p.until(`document.querySelector(".model li")?.textContent == "other"`)
	p.used(len(s.ids("Hello", false)))
	require.Equal(t, "Hello", eval[string](p, `document.querySelector("#prompt").value`))
	p.clean("404")
}

// If the server is full or gone, the page says so, and it goes on when the server is back.
func TestServerGone(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	p.used(len(s.ids("The capital of Germany is", false)))
	s.fail(429)
	p.typeIn("Hello")
	p.until(`document.querySelector("#problem").textContent == "The test says no. The page tries again."`)
	s.fail(0)
	p.used(len(s.ids("Hello", false)))
	require.Equal(t, []string{""}, p.texts("#problem"))

	s.fail(gone)
	p.typeIn("Hello again")
	p.until(`document.querySelector("#problem").textContent ==
		"The server does not answer. Is phi3 still running? The page tries again."`)
	s.fail(0)
	p.used(len(s.ids("Hello again", false)))

	s.fail(500)
	p.typeIn("Hello")
	p.until(`document.querySelector("#problem").textContent == "The test says no."`)
	s.fail(0)
	p.typeIn("The capital of")
	p.used(len(s.ids("The capital of", false)))
	p.clean("429", "500", "net::ERR")
}

// A server with a key gets it from the person, and says if it is wrong.
func TestKey(t *testing.T) {
	s := start(t, setup{key: "secret"})
	p := s.open("", look{})
	p.until(`document.querySelector("#key")`)
	require.Empty(t, p.texts("[role=tab]"))
	require.Equal(t, []string{""}, p.texts("#problem"))
	for _, key := range []string{"wrong", "schlüssel", ""} {
		eval[bool](p, `(document.querySelector("#key").select(), true)`)
		p.click("#key")
		p.press(kb.Backspace)
		if key != "" {
			p.press(key)
		}
		p.press(kb.Enter)
		p.until(`document.querySelector("#problem").textContent != ""`)
		want := "The API key is wrong."
		if key != "wrong" {
			want = "A key has only letters, digits and signs of ASCII, without blanks."
		}
		p.until(`document.querySelector("#problem").textContent == %s`, want)
		eval[bool](p, `(document.querySelector("#key").select(), true)`)
	}
	p.press("secret", kb.Enter)
	p.used(len(s.ids("The capital of Germany is", false)))
	require.NotContains(t, eval[string](p, "location.href"), "secret")
	p.clean("401")
}

// A new prompt cancels the request for the old one.
func TestNewPromptCancels(t *testing.T) {
	s := start(t, setup{})
	p := s.open("", look{})
	p.used(len(s.ids("The capital of Germany is", false)))
	release := s.hold("/explore/tokens")
	p.typeIn("Hello")
	require.Eventually(t, func() bool { return s.count("/explore/tokens") == 2 }, patience, interval)
	p.typeIn("The")
	require.Eventually(t, func() bool { return s.countCancelled("/explore/tokens") == 1 }, patience, interval)
	release()
	p.used(len(s.ids("The", false)))
}

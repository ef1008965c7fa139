package jinja

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// hostile lists templates that reach a bound. Each ends with one sentence.
var hostile = map[string]string{
	"endless macro":     "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
	"endless recursion": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
	"endless block":     "{% block a %}{{ self.a() }}{% endblock %}",
	"endless call":      "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}",
	"long range":        "{% for i in range(1000000000) %}{% endfor %}",
	"loops in loops": strings.Repeat("{% for i in range(9999) %}", 20) +
		strings.Repeat("{% endfor %}", 20),
	"condition":           "{% for i in range(99999) if range(99999)|sum == 1 %}{% endfor %}",
	"output":              "{% for i in range(9999) %}" + strings.Repeat("0123456789", 1000) + "{% endfor %}",
	"string repeated":     "{{ 'a' * 1000000000 }}",
	"list repeated":       "{{ ([1] * 1000000000)|length }}",
	"empty list repeated": "{{ ([[]] * 100000) * 100000 }}",
	"power":               "{{ 9 ** 999999999 }}",
	"powers": "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x " +
		"%}{% endfor %}",
	"doubled variable": "{% set x = 'ab' %}" + strings.Repeat("{% set x = x ~ x %}", 60),
	"doubled in a loop": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + " +
		"ns.x %}{% endfor %}",
	"doubled list": "{% set ns = namespace(x=['ab']) %}{% for i in range(60) %}{% set ns.x = ns.x + " +
		"ns.x %}{% endfor %}",
	"billion laughs": "{% set ns = namespace(x='ab') %}{% for i in range(40) %}{% set ns.x = [ns.x, " +
		"ns.x] %}{% endfor %}{{ ns.x }}",
	"laughs compared": "{% set ns = namespace(x=1, y=1) %}{% for i in range(40) %}{% set ns.x = [ns.x, " +
		"ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
	"laughs ordered": "{% set ns = namespace(x=1, y=1) %}{% for i in range(40) %}{% set ns.x = [ns.x, " +
		"ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x < ns.y }}",
	"laughs as key": "{% set ns = namespace(x=1) %}{% for i in range(40) %}{% set ns.x = (ns.x, " +
		"ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
	"laughs as JSON": "{% set ns = namespace(x=1) %}{% for i in range(40) %}{% set ns.x = [ns.x, " +
		"ns.x] %}{% endfor %}{{ ns.x|tojson }}",
	"nested without end": "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] " +
		"%}{% endfor %}{{ ns.x }}",
	"namespace in itself": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
	"captured text": "{% set x %}{% for i in range(9999) %}{% for j in range(9999) %}aaaaaaaaaa{% " +
		"endfor %}{% endfor %}{% endset %}",
	"captured in macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% else %}" +
		strings.Repeat("a", 1000) + "{% endif %}{% endmacro %}{{ f(40) }}",
	"center":            "{{ 'a' | center(1000000000) }}",
	"center method":     "{{ 'a'.center(1000000000) }}",
	"zfill":             "{{ 'a'.zfill(1000000000) }}",
	"expandtabs":        "{{ '\t'.expandtabs(1000000000) }}",
	"format":            "{{ '%1000000000d' | format(1) }}",
	"format precision":  "{{ '%.1000000000f' % 1 }}",
	"format star":       "{{ '%*d' % (1000000000, 1) }}",
	"format method":     "{{ '{:1000000000}'.format(1) }}",
	"format with zeros": "{{ '{:01000000000,}'.format(1) }}",
	"format far away":   "{{ '{:.1000000000f}'.format(1.5) }}",
	"indent":            "{{ 'a\nb' | indent(1000000000) }}",
	"indent many":       "{{ ('\n' * 9999) | indent('a' * 99999, blank=true) }}",
	"tojson indent":     "{{ [1] | tojson(indent=1000000000) }}",
	"tojson deep indent": "{% set ns = namespace(x=[]) %}{% for i in range(150) %}{% set ns.x = [ns.x] " +
		"%}{% endfor %}{{ ns.x | tojson(indent='a' * 9999999) }}",
	"replace":        "{{ ('a' * 99999) | replace('', 'b' * 99999) }}",
	"replace method": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
	"join":           "{{ range(99999) | join('a' * 99999) }}",
	"join method":    "{{ ('a' * 99999).join('b' * 99999) }}",
	"map": "{% for i in range(99999) %}{{ range(99999) | map('string') | list | length " +
		"}}{% endfor %}",
	"sum of lists": "{{ ([[1, 2, 3]] * 99999) | sum(start=[]) | length }}",
	"batch":        "{{ [1] | batch(1000000000, 1) | list }}",
	"slice":        "{{ [1] | slice(1000000000) | list }}",
	"sort": "{% for i in range(99999) %}{% set x = range(99999) | reverse | sort %}{% " +
		"endfor %}",
	"characters": "{% set x = 'é' * 999999 %}{% for i in range(99999) %}{{ x[i] }}{% endfor %}",
	"finds":      "{% set x = 'ab' * 999999 %}{% for i in range(99999) %}{{ 'c' in x }}{% endfor %}",
	"wordwrap":   "{{ ('a' * 9999999) | wordwrap(1, wrapstring='b' * 99999) }}",
	"urlencode":  "{{ ('é' * 9999999) | urlencode }}",
	"swapcase":   "{{ ('Σ' * 999999).swapcase() * 99 }}",
	"splits":     "{% for i in range(99999) %}{% set x = ('a ' * 99999).split() %}{% endfor %}",
	"varargs":    "{% macro f() %}{{ f(*varargs, *varargs) }}{% endmacro %}{{ f(1) }}",
	"generators": "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = " +
		"ns.x|map('abs') %}{% endfor %}{{ ns.x|list }}",
	"many brackets":   "{{ " + strings.Repeat("(", 100_000),
	"many lists":      "{{ " + strings.Repeat("[", 100_000),
	"many nots":       "{% if " + strings.Repeat("not ", 100_000) + "%}",
	"many minuses":    "{{ " + strings.Repeat("-", 100_000) + "1 }}",
	"many sums":       "{{ 1" + strings.Repeat("+1", 100_000) + " }}",
	"many powers":     "{{ 2" + strings.Repeat("**2", 100_000) + " }}",
	"many choices":    "{{ " + strings.Repeat("1 if 1 else ", 50_000) + "1 }}",
	"many filters":    "{{ 1" + strings.Repeat("|abs", 100_000) + " }}",
	"many attributes": "{{ a" + strings.Repeat(".a", 100_000) + " }}",
	"many ifs":        strings.Repeat("{% if 1 %}", 50_000),
	"many targets":    "{% set " + strings.Repeat("(", 100_000),
	"many digits":     "{{ " + strings.Repeat("9", 100_000) + " }}",
	"too long":        strings.Repeat("a", MaxSource+1),
	"unclosed raw":    strings.Repeat("{% raw %}{%", 10_000),
	"include":         "{% include '/etc/passwd' %}",
	"import":          "{% import '/etc/passwd' as s %}{{ s }}",
	"from":            "{% from '/etc/passwd' import s %}{{ s }}",
	"extends":         "{% extends '/etc/passwd' %}",
}

func hostileTemplates(t *testing.T) {
	for name, template := range hostile {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, template, NewDict())
			require.Error(t, err, "rendered %.80q", got)
			var placed *Error
			require.ErrorAs(t, err, &placed)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// They run in a process with little memory, so a refused value must not have been made first.
func TestHostileTemplates(t *testing.T) {
	race.SkipAlone(t)
	if os.Getenv("JINJA_LITTLE_MEMORY") != "" {
		limitMemory(t, 2<<30)
		hostileTemplates(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestHostileTemplates$")
	child.Env = append(os.Environ(), "JINJA_LITTLE_MEMORY=1")
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%.4000s", out)
}

// Rendering ends with its context, also where a template writes nothing.
func TestRenderIsInterrupted(t *testing.T) {
	for _, template := range []string{
		hostile["loops in loops"], hostile["sort"], hostile["finds"],
		hostile["condition"],
	} {
		ctx, cancel := context.WithCancel(t.Context())
		parsed, err := Parse(template)
		require.NoError(t, err)
		stopped := make(chan time.Time, 1)
		time.AfterFunc(50*time.Millisecond, func() {
			stopped <- time.Now()
			cancel()
		})
		_, err = parsed.Render(ctx, NewDict(), Options{})
		if errors.Is(err, context.Canceled) {
			require.Less(t, time.Since(<-stopped), 30*time.Second)
		}
		cancel()
	}
}

// Filters and methods are charged for each letter that they read, so a template that repeats them is refused
// within about a second.
func TestLettersCount(t *testing.T) {
	race.SkipAlone(t)
	for _, f := range []string{
		"|title", "|upper", "|capitalize", "|wordcount", "|striptags", "|wordwrap", "|reverse", ".title()",
		".swapcase()", ".casefold()",
	} {
		_, err := render(t, "{% for i in range(40) %}{% set x = ('ab ' * 300000)"+f+" %}{% endfor %}",
			NewDict())
		require.EqualError(t, err, "line 1: it does more work than a chat template may", f)
	}
}

// A caller may allow less output.
func TestOutputLimit(t *testing.T) {
	parsed, err := Parse("{% for i in range(100) %}0123456789{% endfor %}")
	require.NoError(t, err)
	_, err = parsed.Render(t.Context(), NewDict(), Options{MaxOutput: 999})
	require.EqualError(t, err, "line 1: it writes more than 999 bytes")
	got, err := parsed.Render(t.Context(), NewDict(), Options{MaxOutput: 1000})
	require.NoError(t, err)
	require.Len(t, got, 1000)
}

// The cost of a long conversation is linear in its length, for what real templates ask in every turn.
func TestLongConversation(t *testing.T) {
	race.SkipAlone(t)
	messages := &List{}
	for range 1000 {
		m := NewDict()
		m.Set("role", "user")
		m.Set("content", strings.Repeat("word ", 2000))
		messages.Items = append(messages.Items, m)
	}
	variables := NewDict()
	variables.Set("messages", messages)
	got, err := render(t, "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = messages | "+
		"length %}"+
		"{% if messages[1:] | length > 1 and messages[-1].role == 'user' %}{{ m.content | trim }}{% endif "+
		"%}{% endfor %}", variables)
	require.NoError(t, err)
	require.Len(t, got, 1000*9999)
}

// FuzzTemplate: any template renders or fails in words, and within its bounds.
func FuzzTemplate(f *testing.F) {
	race.SkipAlone(f)
	for _, template := range hostile {
		if len(template) < 1000 {
			f.Add(template)
		}
	}
	features, err := os.ReadFile("testdata/features.txt")
	require.NoError(f, err)
	for _, line := range strings.Split(string(features), "\n") {
		f.Add(strings.ReplaceAll(line, "⏎", "\n"))
	}
	variables, err := FromJSON(`{"messages": [
			{"role": "system", "content": "Be brief."}, {"role": "user", "content": "日本 <b>"}],
		"n": 7, "nums": [5, -3, 8], "d": {"b": 1, "a": [1, 2]}, "s": "Hello", "none_value": null,
		"users": [{"name": "Bo", "age": 30}]}`)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, template string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		parsed, err := Parse(template)
		if err != nil {
			return
		}
		got, err := parsed.Render(ctx, variables.(*Dict), Options{MaxOutput: 1 << 20})
		if err == nil && len(got) > 1<<20 {
			t.Fatalf("it wrote %d bytes", len(got))
		}
	})
}

package tokenizer

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// withTemplate is the fixture's tokenizer with another chat template.
func withTemplate(template string) *Tokenizer {
	return &Tokenizer{
		chatTemplate: template, chatTemplateFile: "chat_template.jinja",
		specialNames: map[string]string{"bos_token": "<s>", "eos_token": "<|endoftext|>"},
	}
}

var conversation = []Message{
	{"system", " Be brief.\n"},
	{"user", "What is 2 + 2?\n{{ 7 }} {% if %} <b>&amp;</b>"},
	{"assistant", "4"},
	{"user", "日本🙂?  "},
}

// The rows of the spec's table 5.3, each as a function of the messages and as a template of our own writing.
var shapes = []struct {
	name, template, folder string // folder: of the real file with this shape; "" where no copy is at hand
	want                   func(msgs []Message, prompt bool) string
}{
	{
		name: "Phi-3-mini 2024-04", folder: "Phi-3-mini-128k-instruct-april2024",
		template: "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n<|assistant|>\n' }}" +
			"{% elif m.role == 'assistant' %}{{ m.content + '<|end|>\n' }}{% endif %}{% endfor %}",
		want: func(msgs []Message, _ bool) string {
			return "<s>" + each(msgs, map[string]string{"user": "<|user|>\n%<|end|>\n<|assistant|>\n", "assistant": "%<|end|>\n"})
		},
	},
	{
		name: "Phi-3-medium", folder: "Phi-3-medium-4k-instruct",
		template: "{%- for m in messages -%}\n  {% if m['role'] == 'user' %}\n{{ '<|user|>\n' ~ m['content'] ~ '<|end|>\n<|assistant|>\n' }}" +
			"\n{%- elif m['role'] == 'assistant' %}\n{{ m['content'] ~ '<|end|>\n' }}\n{%- endif %}\n{%- endfor %}\n",
		want: func(msgs []Message, _ bool) string {
			return each(msgs, map[string]string{"user": "<|user|>\n%<|end|>\n<|assistant|>\n", "assistant": "%<|end|>\n"})
		},
	},
	{
		name: "Phi-3-mini 2024-06", folder: "Phi-3-mini-4k-instruct",
		template: "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endif %}" +
			"{% endfor %}{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}",
		want: func(msgs []Message, prompt bool) string {
			turn := "%<|end|>\n"
			text := each(msgs, map[string]string{"system": "<|system|>\n" + turn, "user": "<|user|>\n" + turn, "assistant": "<|assistant|>\n" + turn})
			if prompt {
				return text + "<|assistant|>\n"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "phi-4 2024-12", folder: "phi-4",
		template: "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + '<|im_end|>' }}{% else %}" +
			"{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}" +
			"{% if m.role == 'user' %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}{% endif %}{% endfor %}",
		want: func(msgs []Message, _ bool) string {
			return each(msgs, map[string]string{
				"system":    "<|im_start|>system<|im_sep|>%<|im_end|>",
				"user":      "<|im_start|>user<|im_sep|>%<|im_end|><|im_start|>assistant<|im_sep|>",
				"assistant": "%<|im_end|>",
			})
		},
	},
	{
		name: "Phi-4-mini", folder: "Phi-4-mini-instruct",
		template: "{% for m in messages %}{% set tools = m.tools if 'tools' in m and m.tools is not none else '' %}" +
			"{{ '<|' ~ m.role ~ '|>' ~ m.content ~ tools ~ '<|end|>' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			text := each(msgs, map[string]string{"system": "<|system|>%<|end|>", "user": "<|user|>%<|end|>", "assistant": "<|assistant|>%<|end|>"})
			if prompt {
				return text + "<|assistant|>"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "Phi-3.5-mini", // as Phi-3-mini 2024-06, but for an empty system message
		template: "{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}{{'<|system|>\n' + m['content'] + '<|end|>\n'}}" +
			"{% elif m['role'] == 'user' %}{{'<|user|>\n' + m['content'] + '<|end|>\n'}}{% elif m['role'] == 'assistant' %}" +
			"{{'<|assistant|>\n' + m['content'] + '<|end|>\n'}}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			turn := "%<|end|>\n"
			msgs = slices.DeleteFunc(slices.Clone(msgs), func(m Message) bool { return m.Role == "system" && m.Content == "" })
			text := each(msgs, map[string]string{"system": "<|system|>\n" + turn, "user": "<|user|>\n" + turn, "assistant": "<|assistant|>\n" + turn})
			if prompt {
				return text + "<|assistant|>\n"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "phi-4 later",
		template: "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
		want: imTurns,
	},
	{
		name: "Phi-4-reasoning", // a fixed system message in place of any other
		template: "<|im_start|>system<|im_sep|>You are Phi.<|im_end|>{% for m in messages %}{% if (m['role'] == 'user') %}" +
			"{{'<|im_start|>user<|im_sep|>' + m['content'] + '<|im_end|>'}}{% elif (m['role'] == 'assistant') %}" +
			"{{'<|im_start|>assistant<|im_sep|>' + m['content'] + '<|im_end|>'}}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			msgs = slices.DeleteFunc(slices.Clone(msgs), func(m Message) bool { return m.Role == "system" })
			return imTurns(append([]Message{{"system", "You are Phi."}}, msgs...), prompt)
		},
	},
	{
		name: "Phi-4-mini-reasoning", // all system messages gathered behind a fixed one
		template: "{{ '<|system|>Your name is Phi.' }}{% for m in messages %}{% if m['role'] == 'system' %}{{ ' ' + m['content'] }}" +
			"{% if 'tools' in m and m['tools'] is not none %}{{ '<|tool|>' + m['tools'] + '<|/tool|>' }}{% endif %}{% endif %}{% endfor %}{{ '<|end|>' }}" +
			"{% for m in messages %}{% if m['role'] != 'system' %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			text := "<|system|>Your name is Phi." + each(msgs, map[string]string{"system": " %"}) + "<|end|>" +
				each(msgs, map[string]string{"user": "<|user|>%<|end|>", "assistant": "<|assistant|>%<|end|>"})
			if prompt {
				return text + "<|assistant|>"
			}
			return text + "<|endoftext|>"
		},
	},
}

// imTurns is the form of phi-4's later template: every role alike.
func imTurns(msgs []Message, prompt bool) string {
	turn := "<|im_sep|>%<|im_end|>"
	text := each(msgs, map[string]string{"system": "<|im_start|>system" + turn, "user": "<|im_start|>user" + turn, "assistant": "<|im_start|>assistant" + turn})
	if prompt {
		text += "<|im_start|>assistant<|im_sep|>"
	}
	return text
}

// each writes every message by its role's form, in which % stands for the content; roles without a form are left out.
func each(msgs []Message, forms map[string]string) string {
	var out strings.Builder
	for _, m := range msgs {
		before, after, ok := strings.Cut(forms[m.Role], "%")
		if ok {
			out.WriteString(before + m.Content + after)
		}
	}
	return out.String()
}

// Phi-3-vision's template asks for the last role, and other common ones for all but the first message.
func TestMessagesAreAJinjaList(t *testing.T) {
	const template = "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{- 'open ' -}}{% endif %}" +
		"{{ messages[0].role }} {{ messages | length }}{% for m in messages[1:] %} {{ m.role }}{% if loop.last %}!{% endif %}{% endfor %}" +
		"{{ ' ' ~ messages[1:][-1].role if messages | length > 1 }}{{ messages[7].role is defined }}"
	for n, want := range []string{1: "open system 1False", 2: "open system 2 user! userFalse", 3: "system 3 user assistant! assistantFalse"} {
		if want == "" {
			continue
		}
		got, err := withTemplate(template).ApplyChatTemplate(conversation[:n], true)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestChatTemplateShapes(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			tok := withTemplate(shape.template)
			conversations := [][]Message{{{"system", ""}, {"user", "x"}}}
			for n := range len(conversation) + 1 {
				conversations = append(conversations, conversation[:n])
			}
			for _, msgs := range conversations {
				for _, prompt := range []bool{true, false} {
					got, err := tok.ApplyChatTemplate(msgs, prompt)
					require.NoError(t, err)
					require.Equal(t, shape.want(msgs, prompt), got, "%q, prompt %t", msgs, prompt)
				}
			}
		})
	}
}

func TestChatTemplatesOfRealCheckpoints(t *testing.T) {
	data := phi3Data(t)
	for _, shape := range shapes {
		if shape.folder == "" {
			continue
		}
		t.Run(shape.name, func(t *testing.T) {
			fsys := os.DirFS(filepath.Join(data, shape.folder))
			config, err := readConfig(fsys)
			require.NoError(t, err)
			tok := &Tokenizer{specialNames: config.contents()}
			require.NoError(t, tok.readChatTemplate(fsys, config.ChatTemplate))
			for n := range len(conversation) + 1 {
				for _, prompt := range []bool{true, false} {
					got, err := tok.ApplyChatTemplate(conversation[:n], prompt)
					require.NoError(t, err)
					want := shape.want(conversation[:n], prompt)
					require.Equal(t, want, got, "%d messages, prompt %t", n, prompt)
				}
			}
		})
	}
}

func TestChatTemplateSources(t *testing.T) {
	hello := []Message{{"user", "Hi"}}
	apply := func(files fs.FS, entry string) (string, error) {
		tok := withTemplate("")
		tok.chatTemplateFile = ""
		if err := tok.readChatTemplate(files, []byte(entry)); err != nil {
			return "", err
		}
		return tok.ApplyChatTemplate(hello, true)
	}
	none := fstest.MapFS{}

	got, err := apply(none, `"{{ messages[0].content }}!"`)
	require.NoError(t, err)
	require.Equal(t, "Hi!", got)

	got, err = apply(none, `[{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]`)
	require.NoError(t, err)
	require.Equal(t, "yes", got)

	// The file wins, and one newline at its end is not part of the template (Jinja's keep_trailing_newline is off).
	got, err = apply(fstest.MapFS{"chat_template.jinja": {Data: []byte("{{ bos_token }}file\n")}}, `"entry"`)
	require.NoError(t, err)
	require.Equal(t, "<s>file", got)

	_, err = apply(none, `"some source {{ 1 + }}"`)
	require.ErrorContains(t, err, "tokenizer_config.json: chat template: failed to parse")
	require.NotContains(t, err.Error(), "some source")
	_, err = apply(none, `null`)
	require.ErrorIs(t, err, ErrNoChatTemplate)
	_, err = apply(none, ``)
	require.ErrorIs(t, err, ErrNoChatTemplate)
	_, err = apply(none, `[{"name": "tool_use", "template": "no"}]`)
	require.ErrorContains(t, err, "default")
	_, err = apply(none, `7`)
	require.ErrorContains(t, err, "chat_template")
}

func TestRaiseException(t *testing.T) {
	tok := withTemplate("{% if messages[0].role != 'user' %}{{ raise_exception('start with the user') }}{% endif %}ok")
	got, err := tok.ApplyChatTemplate([]Message{{"user", "x"}}, true)
	require.NoError(t, err)
	require.Equal(t, "ok", got)
	_, err = tok.ApplyChatTemplate([]Message{{"system", "x"}}, true)
	require.ErrorContains(t, err, "start with the user")
}

// A template is a stranger's program: it reads no files, does not hang, and does not crash.
func TestHostileTemplates(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("very secret"), 0o600))
	for name, template := range map[string]string{
		"include":               "{% include '" + secret + "' %}",
		"import":                "{% import '" + secret + "' as s %}{{ s }}",
		"from":                  "{% from '" + secret + "' import s %}{{ s }}",
		"extends":               "{% extends '" + secret + "' %}",
		"itself":                "{% include '/chat_template' %}",
		"endless macro":         "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"recursive loop":        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"long range":            "{% for i in range(1000000000) %}{% endfor %}",
		"endless range":         "{% for i in range(0, 10, 0) %}{% endfor %}",
		"output":                "{% for i in range(9999) %}" + strings.Repeat("0123456789", 1000) + "{% endfor %}",
		"unclosed":              "{% for m in messages %}",
		"nonsense":              "{{ 1 + }}",
		"too deep":              "{{ " + strings.Repeat("(", maxBrackets),
		"deep brackets":         "{{ " + strings.Repeat("(", maxBrackets-2),
		"deep lists":            "{{ " + strings.Repeat("[", maxBrackets-2),
		"deep dicts":            "{{ " + strings.Repeat("{1:", maxBrackets-2),
		"many nots":             "{% if " + strings.Repeat("not ", maxTemplate/4-5) + "%}",
		"many minuses":          "{{ " + strings.Repeat("-", maxTemplate-6),
		"many powers":           "{{ 2" + strings.Repeat("**2", maxTemplate/3-3),
		"many choices":          "{{ " + strings.Repeat("1 if 1 else ", maxTemplate/12-3),
		"many filters":          "{{ 1" + strings.Repeat("|f", maxTemplate/2-5) + " }}",
		"deep ifs":              strings.Repeat("{% if 1 %}", maxTemplate/10),
		"too long":              strings.Repeat("a", maxTemplate+1),
		"string repeated":       "{{ 'a' * 1000000000 }}",
		"power":                 "{{ 9 ** 9 }}",
		"doubled variable":      "{% set x = 'ab' %}" + strings.Repeat("{% set x = x ~ x %}", 60),
		"doubled in a loop":     "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"doubled list":          "{% set ns = namespace(x=['ab']) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"billion laughs":        "{% set ns = namespace(x='ab') %}{% for i in range(30) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
		"loop variables":        strings.Repeat("{% for x in [x ~ 'ab' ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x ~ x] %}", 8) + strings.Repeat("{% endfor %}", 8),
		"many loops":            strings.Repeat("{% for x in [1] %}", 9) + strings.Repeat("{% endfor %}", 9),
		"with":                  "{% with x = 'ab' %}{{ x }}{% endwith %}",
		"set block":             "{% set x %}{% for i in range(9999) %}{% for j in range(9999) %}aaaaaaaaaa{% endfor %}{% endfor %}{% endset %}",
		"filter block":          "{% filter upper %}{% for i in range(9999) %}{% for j in range(9999) %}aaaaaaaaaa{% endfor %}{% endfor %}{% endfilter %}",
		"nested without end":    "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
		"namespace in itself":   "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
		"namespace in a list":   "{% set ns = namespace(x='a') %}{% set l = [ns, ns, ns] %}{{ l }}",
		"list in itself":        "{% set l = [] %}{% set l2 = l.append(l) %}{{ l }}",
		"dict in itself":        "{% set d = {'a': 1} %}{% set e = d.update({'b': d}) %}{{ d }}",
		"attribute of a dict":   "{% set d = {'a': 1} %}{% set d.a = d %}{{ d }}",
		"attribute of messages": "{% for m in messages %}{% set m.content = messages %}{% endfor %}{{ messages }}",
		"item":                  "{% set ns = namespace() %}{% set ns['x'] = ns %}{{ ns }}",
		"set of a call":         "{% set ns = namespace() %}{% set dict(a=ns).a.b = ns %}{{ ns }}",
		"set of a list":         "{% set ns = namespace() %}{% set [ns][0].b = ns %}{{ ns }}",
		"center":                "{{ 'a' | center(1000000000) }}",
		"center method":         "{{ 'a'.center(1000000000) }}",
		"zfill":                 "{{ 'a'.zfill(1000000000) }}",
		"format":                "{{ '%1000000000d' | format(1) }}",
		"format method":         "{{ '{:1000000000}'.format(1) }}",
		"indent":                "{{ 'a\nb' | indent(1000000000) }}",
		"tojson indent":         "{{ [1] | tojson(indent=1000000000) }}",
		"replace":               "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ x | replace('', x) }}",
		"replace method":        "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ x.replace('', x) }}",
		"replace by name":       "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ x | replace(new=x, old='') }}",
		"join":                  "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ range(9999) | join(x) }}",
		"join method":           "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ x.join(range(9999) | map('string')) }}",
		"map of replace":        "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{% for i in range(9999) %}{% set y = range(9999) | map('replace', '1', x) %}{% endfor %}",
		"map of default":        "{% set x = range(9999) | join %}{% set x = x ~ x ~ x %}{{ range(9999) | map('attr', 'x') | map('default', x) | list }}",
		"many names":            "{{ 1" + strings.Repeat(" ~ x", 65) + " }}",
		"many variables":        many(65, "{%% set x%d = 1 %%}"),
		"method chain":          "{{ 'a'" + strings.Repeat(".strip()", 60) + " }}",
		"list of a long text":   "{% set x = range(9999) | join %}{% for c in x %}{% endfor %}",
		"long integer":          "{% set x = range(5000) | join | int %}{{ x }}",
		"macro":                 "{% macro f() %}a{% endmacro %}{{ f() }}",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := withTemplate(template).ApplyChatTemplate(conversation, true)
			require.Error(t, err, "rendered %.80q", got)
			require.NotContains(t, err.Error(), "very secret")
			require.NotErrorIs(t, err, errStopped, "it should be refused, not time out")
		})
	}
}

// many writes form with each number below n.
func many(n int, form string) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, form, i)
	}
	return out.String()
}

// All of TestHostileTemplates again, in a process that may not take much memory: what is refused must not have been made first.
func TestHostileTemplatesInLittleMemory(t *testing.T) {
	if os.Getenv("TOKENIZER_LITTLE_MEMORY") != "" {
		limitMemory(t, 1<<30)
		TestHostileTemplates(t)
		// A conversation may be long, and then values may be.
		long := []Message{{"user", strings.Repeat("1", 200_000)}}
		for _, template := range []string{
			"{{ range(9999) | join(messages[0].content) }}",
			"{{ messages[0].content.join(range(9999) | map('string')) }}",
			"{{ messages[0].content | replace('1', messages[0].content) }}",
			"{% set y = [range(1000, 9999) | map('replace', '1', messages[0].content) | list, range(1000, 9999) | map('replace', '1', messages[0].content) | list, range(1000, 9999) | map('replace', '1', messages[0].content) | list] %}{{ y }}",
			"{{ (messages[0].content | list) | join(messages[0].content) }}",
		} {
			_, err := withTemplate(template).ApplyChatTemplate(long, true)
			require.Error(t, err, template)
		}
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestHostileTemplatesInLittleMemory$")
	child.Env = append(os.Environ(), "TOKENIZER_LITTLE_MEMORY=1")
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%.4000s", out)
}

// A long conversation costs what it is, not its square, with what templates ask in every turn.
func TestLongConversation(t *testing.T) {
	var long []Message
	for range 500 {
		long = append(long, Message{"user", strings.Repeat("word ", 2000)}, Message{"assistant", "yes"})
	}
	const template = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = messages | length %}" +
		"{% if messages[1:] | length > 1 and messages[-1].role == 'assistant' %}{{ m.content | trim }}{% endif %}{% endfor %}"
	got, err := withTemplate(template).ApplyChatTemplate(long, true)
	require.NoError(t, err)
	require.Equal(t, 500*(9999+3), len(got))
}

// The condition of a loop is looked at for every item before anything runs; it ends with the rendering, too.
func TestConditionIsStopped(t *testing.T) {
	out := &limitedOutput{}
	looked := 0
	variables := map[string]any{"look": func() bool {
		if looked++; looked == 3 {
			out.stop.Store(true)
		}
		return false
	}}
	_ = render("{% for i in range(9999) if look() %}{% endfor %}", variables, out, &budget{stop: &out.stop, value: maxValue})
	require.Equal(t, 3, looked)
}

// What templates of other families do, which fine-tunes may have taken over.
func TestCommonTemplatesFit(t *testing.T) {
	for template, want := range map[string]string{
		"{% set ns = namespace(found=false, text='') %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.text = ns.text ~ m.content %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.text | length }}": "True 50",
		"{{ messages | selectattr('role', 'equalto', 'user') | list | length }}":                                                                          "2",
		"{{ messages | map(attribute='role') | join(', ') }}":                                                                                             "system, user, assistant, user",
		"{% set loop_messages = messages[1:] %}{% for m in loop_messages %}{{ m['role'].upper() }}{{ ' ' if not loop.last }}{% endfor %}":                 "USER ASSISTANT USER",
		"{% for m in messages if m.role == 'user' %}{{ loop.index0 }}{{ m.content.strip().split('?')[0] | trim }};{% endfor %}":                           "0What is 2 + 2;1日本🙂;",
		"{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}{% break %}{% endif %}{% endfor %}":                                        "What is 2 + 2?\n{{ 7 }} {% if %} <b>&amp;</b>",
		"{{ {'a': [1, 'b']} | tojson }}{{ {'a': 1} | tojson(indent=4) }}":                                                                                 "{\"a\":[1,\"b\"]}{\n    \"a\": 1\n}",
		"{% set x = 'a-b-c' %}{{ x | replace('-', '') }}{{ x.split('-')[-1] }}{{ x.startswith('a') }}{{ x[1:] }}":                                         "abccTrue-b-c",
		"{{ messages[0].get('content', 'x') | trim }}{{ messages[0].get('tools', 'none') }}{{ tools | default('no') }}":                                   "Be brief.none" + "no",
		"{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'].strip() %}{% else %}{% set system = '' %}{% endif %}{{ system }}": "Be brief.",
	} {
		got, err := withTemplate(template).ApplyChatTemplate(conversation, true)
		require.NoError(t, err, template)
		require.Equal(t, want, got, template)
	}
}

// Loops within loops that write nothing would run for years; the goroutine that renders them must end.
func TestEndlessTemplateIsStopped(t *testing.T) {
	defer func(limit time.Duration) { maxRenderTime = limit }(maxRenderTime)
	maxRenderTime = 50 * time.Millisecond
	for name, template := range map[string]string{
		"loops":     strings.Repeat("{% for i in range(9999) %}", maxLoops) + strings.Repeat("{% endfor %}", maxLoops),
		"condition": "{% set x = range(9999) | join %}{% for i in range(9999) if x ~ x ~ x ~ x ~ x ~ x ~ x == x %}{% for i in range(9999) if x ~ x == x %}{% endfor %}{% endfor %}{{ y() }}",
	} {
		_, err := withTemplate(template).ApplyChatTemplate(nil, false)
		require.ErrorIs(t, err, errStopped, name)

		out := &limitedOutput{}
		out.stop.Store(true)
		require.ErrorIs(t, render(template, map[string]any{}, out, &budget{stop: &out.stop, value: maxValue}), errStopped,
			"a stopped rendering ends at its next loop step")
	}
}

package tokenizer

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// withTemplate is the fixture's tokenizer with another chat template.
func withTemplate(template string) *Tokenizer {
	return &Tokenizer{
		chatTemplates: map[string]chatTemplate{defaultTemplate: {"chat_template.jinja", template}},
		specialNames:  map[string]string{"bos_token": "<s>", "eos_token": "<|endoftext|>"},
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
		template: "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + " +
			"m.content + '<|end|>\n<|assistant|>\n' }}" +
			"{% elif m.role == 'assistant' %}{{ m.content + '<|end|>\n' }}{% endif %}{% endfor %}",
		want: func(msgs []Message, _ bool) string {
			return "<s>" +
				each(msgs, map[string]string{
					"user":      "<|user|>\n%<|end|>\n<|assistant|>\n",
					"assistant": "%<|end|>\n",
				})
		},
	},
	{
		name: "Phi-3-medium", folder: "Phi-3-medium-4k-instruct",
		template: "{%- for m in messages -%}\n  {% if m['role'] == 'user' %}\n{{ '<|user|>\n' ~ " +
			"m['content'] ~ '<|end|>\n<|assistant|>\n' }}" +
			"\n{%- elif m['role'] == 'assistant' %}\n{{ m['content'] ~ '<|end|>\n' }}\n{%- endif %}\n{%- " +
			"endfor %}\n",
		want: func(msgs []Message, _ bool) string {
			return each(msgs, map[string]string{
				"user":      "<|user|>\n%<|end|>\n<|assistant|>\n",
				"assistant": "%<|end|>\n",
			})
		},
	},
	{
		name: "Phi-3-mini 2024-06", folder: "Phi-3-mini-4k-instruct",
		template: "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] %}{{ '<|' + " +
			"m.role + '|>\n' + m.content + '<|end|>\n' }}{% endif %}" +
			"{% endfor %}{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}",
		want: func(msgs []Message, prompt bool) string {
			turn := "%<|end|>\n"
			text := each(msgs, map[string]string{
				"system": "<|system|>\n" + turn, "user": "<|user|>\n" + turn,
				"assistant": "<|assistant|>\n" + turn,
			})
			if prompt {
				return text + "<|assistant|>\n"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "phi-4 2024-12", folder: "phi-4",
		template: "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + '<|im_end|>' }}{% " +
			"else %}" +
			"{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}" +
			"{% if m.role == 'user' %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}{% endif %}{% " +
			"endfor %}",
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
		template: "{% for m in messages %}{% set tools = m.tools if 'tools' in m and m.tools is not none " +
			"else '' %}" +
			"{{ '<|' ~ m.role ~ '|>' ~ m.content ~ tools ~ '<|end|>' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			text := each(msgs, map[string]string{
				"system": "<|system|>%<|end|>", "user": "<|user|>%<|end|>",
				"assistant": "<|assistant|>%<|end|>",
			})
			if prompt {
				return text + "<|assistant|>"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "Phi-3.5-mini", // as Phi-3-mini 2024-06, but for an empty system message
		template: "{% for m in messages %}{% if m['role'] == 'system' and m['content'] %}{{'<|system|>\n' " +
			"+ m['content'] + '<|end|>\n'}}" +
			"{% elif m['role'] == 'user' %}{{'<|user|>\n' + m['content'] + '<|end|>\n'}}{% elif m['role'] " +
			"== 'assistant' %}" +
			"{{'<|assistant|>\n' + m['content'] + '<|end|>\n'}}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			turn := "%<|end|>\n"
			msgs = slices.DeleteFunc(slices.Clone(msgs),
				func(m Message) bool { return m.Role == "system" && m.Content == "" })
			text := each(msgs, map[string]string{
				"system": "<|system|>\n" + turn, "user": "<|user|>\n" + turn,
				"assistant": "<|assistant|>\n" + turn,
			})
			if prompt {
				return text + "<|assistant|>\n"
			}
			return text + "<|endoftext|>"
		},
	},
	{
		name: "phi-4 later",
		template: "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + " +
			"'<|im_end|>' }}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
		want: imTurns,
	},
	{
		name: "Phi-4-reasoning", // a fixed system message in place of any other
		template: "<|im_start|>system<|im_sep|>You are Phi.<|im_end|>{% for m in messages %}{% if " +
			"(m['role'] == 'user') %}" +
			"{{'<|im_start|>user<|im_sep|>' + m['content'] + '<|im_end|>'}}{% elif (m['role'] == " +
			"'assistant') %}" +
			"{{'<|im_start|>assistant<|im_sep|>' + m['content'] + '<|im_end|>'}}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			msgs = slices.DeleteFunc(slices.Clone(msgs), func(m Message) bool { return m.Role == "system" })
			return imTurns(append([]Message{{"system", "You are Phi."}}, msgs...), prompt)
		},
	},
	{
		name: "Phi-4-mini-reasoning", // all system messages gathered behind a fixed one
		template: "{{ '<|system|>Your name is Phi.' }}{% for m in messages %}{% if m['role'] == 'system' " +
			"%}{{ ' ' + m['content'] }}" +
			"{% if 'tools' in m and m['tools'] is not none %}{{ '<|tool|>' + m['tools'] + '<|/tool|>' }}{% " +
			"endif %}{% endif %}{% endfor %}{{ '<|end|>' }}" +
			"{% for m in messages %}{% if m['role'] != 'system' %}{{ '<|' + m['role'] + '|>' + " +
			"m['content'] + '<|end|>' }}{% endif %}{% endfor %}" +
			"{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
		want: func(msgs []Message, prompt bool) string {
			text := "<|system|>Your name is Phi." + each(msgs, map[string]string{"system": " %"}) +
				"<|end|>" +
				each(msgs, map[string]string{
					"user":      "<|user|>%<|end|>",
					"assistant": "<|assistant|>%<|end|>",
				})
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
	text := each(msgs, map[string]string{
		"system": "<|im_start|>system" + turn,
		"user":   "<|im_start|>user" + turn, "assistant": "<|im_start|>assistant" + turn,
	})
	if prompt {
		text += "<|im_start|>assistant<|im_sep|>"
	}
	return text
}

// each writes every message by its role's form, in which % stands for the content; roles without a form are
// left out.
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
	const template = "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{- 'open ' " +
		"-}}{% endif %}" +
		"{{ messages[0].role }} {{ messages | length }}{% for m in messages[1:] %} {{ m.role }}{% if " +
		"loop.last %}!{% endif %}{% endfor %}" +
		"{{ ' ' ~ messages[1:][-1].role if messages | length > 1 }}{{ messages[7] is defined }}"
	for n, want := range []string{
		1: "open system 1False", 2: "open system 2 user! userFalse",
		3: "system 3 user assistant! assistantFalse",
	} {
		if want == "" {
			continue
		}
		got, err := withTemplate(template).ApplyChatTemplate(t.Context(), conversation[:n], true)
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
					got, err := tok.ApplyChatTemplate(t.Context(), msgs, prompt)
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
					got, err := tok.ApplyChatTemplate(t.Context(), conversation[:n], prompt)
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
		if err := tok.readChatTemplate(files, []byte(entry)); err != nil {
			return "", err
		}
		return tok.ApplyChatTemplate(t.Context(), hello, true)
	}
	none := fstest.MapFS{}

	got, err := apply(none, `"{{ messages[0].content }}!"`)
	require.NoError(t, err)
	require.Equal(t, "Hi!", got)

	got, err = apply(none, `[{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]`)
	require.NoError(t, err)
	require.Equal(t, "yes", got)

	// The file wins, and one newline at its end is not part of the template (Jinja's keep_trailing_newline is
	// off).
	got, err = apply(fstest.MapFS{"chat_template.jinja": {Data: []byte("{{ bos_token }}file\n")}}, `"entry"`)
	require.NoError(t, err)
	require.Equal(t, "<s>file", got)

	_, err = apply(none, `"some source {{ 1 + }}"`)
	require.EqualError(t, err, "tokenizer_config.json: chat template: line 1: unexpected }}")
	require.NotContains(t, err.Error(), "some source")
	_, err = apply(none, `null`)
	require.ErrorIs(t, err, ErrNoChatTemplate)
	_, err = apply(none, ``)
	require.ErrorIs(t, err, ErrNoChatTemplate)
	_, err = apply(none, `[{"name": "rag", "template": "no"}, {"name": "tool_use", "template": "no"}]`)
	require.EqualError(t, err, `the checkpoint's chat templates are "rag", "tool_use", and none is the default; give one by --chat-template FILE`)
	// tool_use is chosen where there are tools; files of their own win, all of them.
	tools := fstest.MapFS{
		"chat_template.jinja":                        {Data: []byte("file")},
		"additional_chat_templates/tool_use.jinja":   {Data: []byte("with {{ tools }}")},
		"additional_chat_templates/not-a-template.c": {Data: []byte("{{")},
	}
	tok := withTemplate("")
	require.NoError(t, tok.readChatTemplate(tools, []byte(`"entry"`)))
	got, err = tok.ApplyChatTemplate(t.Context(), hello, true)
	require.NoError(t, err)
	require.Equal(t, "file", got)
	require.NoError(t, tok.SetTemplateVariable("tools", `[]`))
	got, err = tok.ApplyChatTemplate(t.Context(), hello, true)
	require.NoError(t, err)
	require.Equal(t, "with []", got)

	// chat_template.json comes last.
	old := fstest.MapFS{"chat_template.json": {Data: []byte(`{"chat_template": "old"}`)}}
	got, err = apply(old, `null`)
	require.NoError(t, err)
	require.Equal(t, "old", got)
	got, err = apply(old, `"entry"`)
	require.NoError(t, err)
	require.Equal(t, "entry", got)

	_, err = apply(none, `7`)
	require.ErrorContains(t, err, "chat_template")
}

func TestRaiseException(t *testing.T) {
	tok := withTemplate("{% if messages[0].role != 'user' %}{{ raise_exception('start with the user') }}{% " +
		"endif %}ok")
	got, err := tok.ApplyChatTemplate(t.Context(), []Message{{"user", "x"}}, true)
	require.NoError(t, err)
	require.Equal(t, "ok", got)
	_, err = tok.ApplyChatTemplate(t.Context(), []Message{{"system", "x"}}, true)
	require.EqualError(t, err, "the chat template refuses this conversation: start with the user")
	_, err = withTemplate(`{{ raise_exception('a\nphi3: done\x1b[2J\u009b\u202e') }}`).ApplyChatTemplate(t.Context(), nil, true)
	require.EqualError(t, err, `the chat template refuses this conversation: a\nphi3: done\x1b[2J\u009b\u202e`)
}

// What templates of other families do, which fine-tunes may have taken over.
func TestCommonTemplatesFit(t *testing.T) {
	for template, want := range map[string]string{
		"{% set ns = namespace(found=false, text='') %}{% for m in messages %}{% if m.role == 'user' %}{% " +
			"set ns.found = true %}{% set ns.text = ns.text ~ m.content %}{% endif %}{% endfor %}{{ " +
			"ns.found }} {{ ns.text | length }}": "True 50",
		"{{ messages | selectattr('role', 'equalto', 'user') | list | length }}": "2",
		"{{ messages | map(attribute='role') | join(', ') }}": "system, user, " +
			"assistant, user",
		"{% set loop_messages = messages[1:] %}{% for m in loop_messages %}{{ m['role'].upper() }}{{ ' ' " +
			"if not loop.last }}{% endfor %}": "USER ASSISTANT USER",
		"{% for m in messages if m.role == 'user' %}{{ loop.index0 }}{{ m.content.strip().split('?')[0] | " +
			"trim }};{% endfor %}": "0What is 2 + 2;1日本🙂;",
		"{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}{% break %}{% endif %}{% " +
			"endfor %}": "What is 2 + 2?\n{{ 7 }} {% if %} " +
			"<b>&amp;</b>",
		"{{ {'a': [1, 'b']} | tojson }}{{ {'a': 1} | tojson(indent=4) }}": "{\"a\": [1, \"b\"]}{\n    " +
			"\"a\": 1\n}",
		"{% set x = 'a-b-c' %}{{ x | replace('-', '') }}{{ x.split('-')[-1] }}{{ x.startswith('a') }}{{ " +
			"x[1:] }}": "abccTrue-b-c",
		"{{ messages[0].get('content', 'x') | trim }}{{ messages[0].get('tools', 'none') }}{{ tools | " +
			"default('no') }}": "Be brief.noneNone",
		"{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'].strip() %}{% else " +
			"%}{% set system = '' %}{% endif %}{{ system }}": "Be brief.",
	} {
		got, err := withTemplate(template).ApplyChatTemplate(t.Context(), conversation, true)
		require.NoError(t, err, template)
		require.Equal(t, want, got, template)
	}
}

// Variables are those that transformers passes, and keyword arguments win.
func TestTemplateVariables(t *testing.T) {
	const template = "{{ bos_token }}|{{ pad_token is defined }}|{{ tools }}|{{ documents }}|{{ " +
		"add_generation_prompt }}|{{ enable_thinking }}|{{ d }}"
	tok := withTemplate(template)
	tok.specialNames["pad_token"] = "" // as good as none
	got, err := tok.ApplyChatTemplate(t.Context(), nil, true)
	require.NoError(t, err)
	require.Equal(t, "<s>|False|None|None|True||", got)
	for name, value := range map[string]string{
		"bos_token": `"B"`, "tools": `[1]`, "documents": `[]`, "add_generation_prompt": "false",
		"enable_thinking": "false", "d": `{"b": 1.0, "a": null}`,
	} {
		require.NoError(t, tok.SetTemplateVariable(name, value))
	}
	got, err = tok.ApplyChatTemplate(t.Context(), nil, true)
	require.NoError(t, err)
	require.Equal(t, "B|False|[1]|[]|False|False|{'b': 1.0, 'a': None}", got)
	require.EqualError(t, tok.SetTemplateVariable("x", "{"), "the value of x: it is not a JSON value")
	require.EqualError(t, tok.SetTemplateVariable("x", "1 2"),
		"the value of x: something follows the JSON value")
	require.ErrorContains(t, tok.SetTemplateVariable("messages", "[]"), "cannot be set")
}

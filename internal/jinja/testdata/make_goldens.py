#!/usr/bin/env python3
"""Renders templates with transformers' Jinja environment, as goldens for TestDifferential.

    pip install transformers==4.57.6 jinja2==3.1.6
    python make_goldens.py            # writes goldens.json.gz
    python make_goldens.py --seed 5 --count 20000 --out /tmp/more.json.gz

The templates are those of features.txt, and random ones that the class Draw makes.
"""

import argparse, gzip, json, os, random, signal
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
VARIABLES = {
    "messages": [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "What is 2 + 2? <b>&amp;</b> 日本🙂"},
        {
            "role": "assistant",
            "content": "<think>\nhm\n</think>\n\nFour.",
            "tool_calls": [
                {"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1.5}}}
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "add",
                "description": "Adds \"two\" numbers",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"type": "number"}, "b": {"type": ["number", "null"]}},
                    "required": ["a"],
                },
            },
        }
    ],
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "n": 7,
    "f": -2.5,
    "s": "Hello, Wörld",
    "xs": [3, 1, 2, 3, None, "b", "A"],
    "nums": [5, -3, 8, 0, 5],
    "d": {"b": 1, "a": [1, 2], "C": None},
    "words": ["pear", "Apple", "fig", "apple"],
    "users": [{"name": "Bo", "age": 30}, {"name": "al", "age": 25}, {"name": "Cy", "age": 30, "x": {"y": 1}}],
    "t": True,
    "none_value": None,
    "empty": [],
    "html": "<a href=\"x\">1 & 2</a>",
    "lines": "one\ntwo\n\n  three\n",
}


class Timeout(Exception):
    pass


def render(template):
    def stop(*_):
        raise Timeout()

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    try:
        text = _compile_jinja_template.__wrapped__(template).render(**json.loads(json.dumps(VARIABLES)))
        if " at 0x" in text.lower() or any(0xD800 <= ord(c) < 0xE000 for c in text):
            return None
        return {"t": template, "o": text}
    except Timeout:
        return None
    except Exception as e:
        return {
            "t": template,
            "e": f"{type(e).__name__}: {e}"[: None if type(e).__name__ == "TemplateError" else 60],
        }
    finally:
        signal.alarm(0)


class Draw:
    """Makes random templates from the grammar of Jinja."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.names = []

    def pick(self, *options):
        return self.r.choice(options)

    def atom(self):
        return self.pick(
            "n",
            "f",
            "s",
            "xs",
            "nums",
            "d",
            "words",
            "users",
            "t",
            "none_value",
            "empty",
            "html",
            "lines",
            "messages",
            "tools",
            "missing",
            "1",
            "0",
            "2",
            "-1",
            "3.5",
            "10",
            "'a'",
            "'Ab c'",
            "''",
            "'x,y,z'",
            "'%s'",
            "true",
            "false",
            "none",
            "[]",
            "{}",
            "()",
            "loop",
            "[1, 2, 3]",
            "{'k': 'v', 'n': 2}",
            "(1, 'b')",
            "'日本'",
            "range(3)",
            "ns",
            "messages[0]",
            "users[2]",
            "d.a",
            "s",
            "n",
            *(self.names or ["n"]),
        )

    def expr(self, depth):
        if depth <= 0:
            return self.atom()
        e = lambda: self.expr(depth - 1 - self.r.randrange(2))
        k = self.r.randrange(15)
        if k == 0:
            return f"{e()} {self.pick('+', '-', '*', '/', '//', '%', '~', '+', '~')} {e()}"
        if k == 1:
            return f"({e()} {self.pick('+', '-', '*', '~', '%')} {e()})"
        if k == 2:
            return f"{e()} {self.pick('==', '!=', '<', '>', '<=', '>=', 'in', 'not in')} {e()}"
        if k == 3:
            return f"({e()} {self.pick('and', 'or')} {e()})"
        if k == 4:
            return f"(not {e()})"
        if k == 5:
            return f"({e()} if {e()}{self.pick('', ' else ' + e())})"
        if k == 6:
            slices = lambda: (
                e(),
                e(),
                ":" + e(),
                e() + ":",
                "::-1",
                "1:",
                ":-1",
                e() + ":" + e() + ":" + self.pick("1", "2", "-1"),
            )
            return f"{self.atom()}[{self.pick(*slices())}]"
        if k == 7:
            before = ("role", "content", "a", "b", "name", "k", "x", "items()", "keys()", "values()")
            after = ("upper()", "first", "index", "last", "0", "y")
            return f"{self.atom()}.{self.pick(*before, 'get(' + e() + ')', *after)}"
        if k == 8:
            return f"({e()}).{self.method(e)}"
        if k in (9, 10, 11):
            return f"{self.pick(self.atom(), '(' + e() + ')')}|{self.filter(e)}"
        if k == 12:
            return f"({e()} is {self.pick('', 'not ')}{self.test(e)})"
        if k == 13:
            return f"[{e()}, {e()}]"
        return f"{{{self.pick(repr('q'), self.atom())}: {e()}}}"

    def method(self, e):
        return self.pick(
            f"replace({e()}, {e()})",
            f"split({self.pick('', e())})",
            "strip()",
            f"strip({e()})",
            "lstrip()",
            "rstrip()",
            "title()",
            "capitalize()",
            "lower()",
            f"startswith({e()})",
            f"endswith({e()})",
            f"find({e()})",
            f"count({e()})",
            f"join({e()})",
            "splitlines()",
            f"index({e()})",
            f"get({e()}, {e()})",
            f"rsplit({e()}, 1)",
            f"partition({e()})",
            f"center({self.pick('9', '4', e())})",
            f"zfill({e()})",
            "isdigit()",
            "isupper()",
            f"format({e()}, {e()})",
            "swapcase()",
            "copy()",
        )

    def filter(self, e):
        return self.pick(
            "upper",
            "lower",
            "title",
            "capitalize",
            "trim",
            "length",
            "list",
            "first",
            "last",
            "join",
            f"join({e()})",
            "string",
            "int",
            f"int({e()})",
            "float",
            "abs",
            "round",
            f"round({self.pick('1', '-1', '0')})",
            "sort",
            "sort(reverse=true)",
            "sort(attribute='age')",
            "unique|list",
            "reverse|list",
            "reverse",
            "sum",
            "min",
            "max",
            "sum(attribute='age')",
            "tojson",
            "tojson(indent=2)",
            "tojson(sort_keys=true)",
            f"default({e()})",
            f"default({e()}, true)",
            "dictsort",
            "items|list",
            f"map('{self.pick('upper', 'string', 'length', 'abs', 'default')}')|list",
            f"map(attribute='{self.pick('role', 'age', 'name', 'x.y', '0')}')|list",
            f"selectattr('{self.pick('role', 'age', 'x')}')|list",
            f"selectattr('age', 'gt', {e()})|list",
            f"rejectattr('role', 'equalto', {e()})|map(attribute='role')|list",
            f"select('{self.pick('odd', 'string', 'number', 'none', 'defined')}')|list",
            f"reject('in', {e()})|list",
            f"batch({self.pick('2', '3', e())})|list",
            f"slice({self.pick('2', '3')})|list",
            f"replace({e()}, {e()})",
            "escape",
            "e",
            "safe",
            "striptags",
            "wordcount",
            f"indent({self.pick('2', e())})",
            "center(12)",
            f"truncate({self.pick('5', '9')}, true, '', 0)",
            f"groupby('{self.pick('age', 'role', 'name')}')|list|length",
            f"format({e()})",
            f"attr('{self.pick('role', 'index')}')",
            "count",
            "nosuch" if self.r.random() < 0.05 else "upper",
            "filesizeformat",
            "urlencode",
            "wordwrap(5)",
            f"map({e()})|list",
            "xmlattr",
        )

    def test(self, e):
        return self.pick(
            "defined",
            "undefined",
            "none",
            "string",
            "number",
            "mapping",
            "sequence",
            "iterable",
            "odd",
            "even",
            f"divisibleby({e()})",
            f"in({e()})",
            "true",
            "false",
            "boolean",
            "integer",
            "float",
            f"eq({e()})",
            f"sameas({self.pick('true', 'none', 'false')})",
            "lower",
            "upper",
            "callable",
            f"gt({e()})",
            f"ne {self.atom()}",
            "escaped",
            "filter",
            "test",
        )

    def text(self):
        return self.pick(
            "",
            "a",
            " b ",
            "\n",
            "  \n  ",
            "x\n",
            "\n  y",
            "<|user|>\n",
            "{# c #}",
            "{#- c -#}\n",
            "  {%- raw %} {{ x }} {% endraw %}\n",
            "\t",
            "{",
            "} %}",
            "\r\n",
        )

    def tag(self, inner):
        return (
            "{%"
            + self.pick("", "", "", "-", "+")
            + " "
            + inner
            + " "
            + self.pick("", "", "", "-", "+")
            + "%}"
        )

    def body(self, depth):
        return (
            "".join(self.text() + self.statement(depth) for _ in range(self.r.randrange(1, 4))) + self.text()
        )

    def statement(self, depth):
        x = lambda: self.expr(self.r.randrange(3))
        if depth <= 0 or self.r.random() < 0.4:
            return "{{" + self.pick(" ", " ", "-", "+") + x() + self.pick(" ", " ", " -") + "}}"
        b = lambda: self.body(depth - 1)
        k = self.r.randrange(12)
        if k == 0:
            return (
                self.tag("if " + x())
                + b()
                + self.pick(
                    "", self.tag("else") + b(), self.tag("elif " + x()) + b() + self.tag("else") + b()
                )
                + self.tag("endif")
            )
        if k in (1, 2, 3):
            self.names.append("i")
            out = (
                self.tag(
                    f"for i in {self.pick('nums', 'words', 'messages', 'd', 'range(3)', 'empty', x())}"
                    f"{self.pick('', '', ' if ' + x())}{self.pick('', '', ' recursive')}"
                )
                + b()
                + self.pick(
                    "",
                    "",
                    self.tag(self.pick("break", "continue")),
                    self.tag("if loop.index > 1")
                    + self.tag(self.pick("break", "continue"))
                    + self.tag("endif"),
                )
                + self.pick("", self.tag("else") + b())
                + self.tag("endfor")
            )
            self.names.pop()
            return out
        if k == 4:
            return (
                self.tag(f"for k, v in {self.pick('d.items()', 'd|dictsort', 'd|items', x())}")
                + "{{ k }}={{ v }}{{ loop."
                + self.pick(
                    "index",
                    "first",
                    "last",
                    "length",
                    "revindex",
                    "previtem",
                    "nextitem",
                    "cycle('o', 'e')",
                    "changed(v)",
                    "depth",
                )
                + " }}"
                + self.tag("endfor")
            )
        if k == 5:
            name = self.pick("y", "z", "ns.q")
            return self.tag(f"set {name} = {x()}") + b()
        if k == 6:
            return (
                self.tag(f"set {self.pick('y', 'z', 'ns.w', 'y | upper', 'z | trim')}")
                + b()
                + self.tag("endset")
                + "{{ y }}{{ z }}"
            )
        if k == 7:
            return self.tag(f"set y, z = {self.pick('1, 2', '(1, s)', x(), 'nums[:2]')}") + "{{ y }}{{ z }}"
        if k == 8:
            return (
                self.tag(f"macro m({self.pick('a', 'a, b=2', 'a, b=a', '')})")
                + b()
                + "{{ a }}{{ b }}"
                + self.pick("", "{{ caller() }}", "{{ varargs }}", "{{ kwargs }}")
                + self.tag("endmacro")
                + self.pick(
                    "{{ m(" + self.pick("", x(), x() + ", " + x(), "a=" + x(), "1, z=3") + ") }}",
                    self.tag("call m(1)") + b() + self.tag("endcall"),
                )
            )
        if k == 9:
            return (
                self.tag(f"filter {self.pick('upper', 'trim', 'indent', 'replace(1, 2)', 'length')}")
                + b()
                + self.tag("endfilter")
            )
        if k == 10:
            return self.tag(f"with {self.pick('y = ' + x(), 'y = 1, z = y', '')}") + b() + self.tag("endwith")
        return self.tag("generation") + b() + self.tag("endgeneration")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=3000)
    p.add_argument("--out", default=os.path.join(HERE, "goldens.json.gz"))
    a = p.parse_args()
    out = []
    with open(os.path.join(HERE, "features.txt"), encoding="utf-8") as f:
        for line in f.read().split("\n"):
            if line and not line.startswith("### "):
                template = json.loads(
                    '"' + line.replace('\\', '\\\\').replace('"', '\\"').replace("⏎", "\\n") + '"'
                )
                out.append(render(template))
    for i in range(a.count):
        d = Draw(a.seed * 1_000_003 + i)
        case = render("{% set ns = namespace(q=1) %}" + (d.body(2) if i % 2 else "{{ " + d.expr(3) + " }}"))
        # Half of the random templates fail. Keep a third of those.
        if case and len(case.get("o", "")) < 2000 and ("o" in case or i % 3 == 0):
            out.append(case)
    out = [c for c in out if c]
    with open(a.out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as z:
        z.write(
            json.dumps(
                {"variables": VARIABLES, "cases": out}, ensure_ascii=False, separators=(",", ":")
            ).encode()
        )
    print(len(out), "cases,", sum("e" in c for c in out), "of them errors,", os.path.getsize(a.out), "bytes")


main()

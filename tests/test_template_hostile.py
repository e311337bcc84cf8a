# ruff: noqa: E501  # templates stand on one line
"""A chat template is a program of the model's author: none runs for long or fills memory; plain ones are as before."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tiny import CHATML, tokenizer
from transformers.utils import chat_template_utils

from dpo_credit.credit import CreditError, Message
from dpo_credit.text import bounded
from dpo_credit.text.template import ChatTemplate

CHAT = [Message("user", "Hi."), Message("assistant", "Hello.")]
LONG = "{% set x = 'a' * 1000000 %}"
GROWS = "{% set ns = namespace(x='ab', l=[1]) %}{% for i in range(60) %}"
SLOW = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "loops over one range": "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "loops over a text": LONG + "{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
    "macros that call themselves": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "filters in a loop": "{% for i in range(99999) %}{% set y = range(99999)|map('string')|list %}{% endfor %}",
}
LARGE = {
    "~": GROWS + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "+": GROWS + "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "+ of lists": GROWS + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "*": "{{ 'a' * 10**11 }}",
    "* of a list": "{{ 10**11 * [1] }}",
    "%": "{{ '%1000000000d' % 1 }}",
    "% and a width": "{{ '%*d' % (10**10, 1) }}",
    "format": "{{ '{:>1000000000}'.format(1) }}",
    "format and a width": "{{ '{:>{}}'.format(1, 10**10) }}",
    "the filter format": "{{ '%1000000000d'|format(1) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "center": "{{ 'a'|center(10000000000) }}",
    "expandtabs": "{{ ('\t' * 1000000).expandtabs(1000000) }}",
    "indent": "{{ ('\n' * 1000000)|indent(1000000) }}",
    "replace": LONG + "{{ x.replace('a', x) }}",
    "the filter replace": LONG + "{{ x|replace('a', x) }}",
    "join": LONG + "{{ x.join(x) }}",
    "the filter join": LONG + "{{ ([x] * 100000)|join }}",
    "join by a long text": LONG + "{{ ([1] * 100000)|join(x) }}",
    "tojson": "{{ [[1]]|tojson(indent=1000000000) }}",
    "lists of lists": GROWS + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "lists of lists by ~": GROWS + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l ~ '' }}",
    "lists of lists as JSON": GROWS + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
    "lists of lists that are compared": GROWS + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l }}",
    "tuples of tuples": GROWS + "{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} }}",
    "dictionaries of dictionaries": GROWS + "{% set ns.l = {1: ns.l, 2: ns.l} %}{% endfor %}",
    "dictionaries by a call": GROWS + "{% set ns.l = dict(a=ns.l, b=ns.l) %}{% endfor %}",
    "lists of lists by +": GROWS + "{% set ns.l = [ns.l] + [ns.l] %}{% endfor %}",
    "lists of lists by *": GROWS + "{% set ns.l = [ns.l] * 2 %}{% endfor %}",
    "lists of lists by a macro": "{% macro f(n) %}{{ f(n, varargs, varargs) if varargs else f(n, 1) }}{% endmacro %}{{ f(1) }}",
    "lists of lists by batch": GROWS + "{% for x in [ns.l]|batch(2, ns.l) %}{% set ns.l = x %}{% endfor %}{% endfor %}",
    "lists of lists by a filter": GROWS + "{% set ns.l = ([ns.l]|batch(2, ns.l)|list)[0] %}{% endfor %}",
    "its own text": "{% for i in range(99999) %}" + "x" * 5000 + "{% endfor %}",
    "its own text in a macro": "{% macro f() %}{% for i in range(99999) %}" + "x" * 5000 + "{% endfor %}{% endmacro %}{{ f() }}",
}  # fmt: skip


def render(template: str) -> str:
    return ChatTemplate(tokenizer(), template).render(CHAT)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 0.5)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("template", SLOW.values(), ids=SLOW)
def test_a_template_that_does_not_end_is_ended(template: str) -> None:
    began = time.thread_time()
    with pytest.raises(CreditError, match=r"that was given does not end within 0\.5 s: it is broken or hostile"):
        render(template)
    assert time.thread_time() - began < 2  # half a second, and the step that the clock is looked at after


@pytest.mark.parametrize("template", LARGE.values(), ids=LARGE)
def test_a_template_that_grows_without_bound_is_ended(template: str) -> None:
    began = time.thread_time()
    with pytest.raises(CreditError, match="makes texts or lists of more than 16,777,216 characters or values"):
        render(template)
    assert time.thread_time() - began < bounded.SECONDS + 1


@pytest.mark.parametrize("template", ["{{ 10 ** (10 ** 9) }}", "{{ 1 if 7 ** 999999 > 0 }}"])
def test_a_number_of_a_billion_digits_is_not_computed(template: str) -> None:
    with pytest.raises(CreditError, match="makes numbers of more than 65,536 bits"):
        render(template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{{ lipsum(n=100000000) }}",
    ],
)
def test_what_the_sandbox_or_python_refuses_is_one_line(template: str) -> None:
    with pytest.raises(CreditError, match="the chat template rejects this chat"):
        render(template)


@pytest.mark.usefixtures("brief")
def test_the_models_folder_is_named() -> None:
    made = tokenizer(chat_template=SLOW["nested loops"])
    made.name_or_path = "models/evil"
    with pytest.raises(CreditError, match=r"the chat template of models/evil does not end .* --chat-template FILE"):
        ChatTemplate(made).render(CHAT)


@pytest.mark.usefixtures("brief")
def test_a_template_is_ended_in_a_thread_too() -> None:
    said: list[str] = []

    def work() -> None:
        try:
            render(SLOW["nested loops"])
        except CreditError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(said) == 1 and "does not end" in said[0]


def test_each_rendering_has_a_budget_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_MADE", 30_000)
    template = "{{ 'a' * 9000 }}"  # foreseen, made and written: 27,000
    assert [len(render(template)) for _ in range(3)] == [9000] * 3


def test_a_width_among_a_million_colons_is_looked_for_in_little_time() -> None:
    began = time.thread_time()
    assert render("{{ ('1234567' ~ ':' * 1000000).format(1) }}") == "1234567" + ":" * 1_000_000
    assert time.thread_time() - began < 1


def test_others_templates_are_transformers_own() -> None:
    source = "{{ lipsum(n=1) | length > 0 }}{{ 'a' | upper }}"
    with pytest.raises(CreditError, match="'lipsum' is undefined"):
        render(source)
    chat = [message.fields for message in CHAT]
    assert tokenizer().apply_chat_template(chat, chat_template=source, tokenize=False) == "TrueA"
    plain = chat_template_utils._compile_jinja_template("{{ 1 }}").environment
    assert type(plain) is ImmutableSandboxedEnvironment and chat_template_utils.ImmutableSandboxedEnvironment is type(
        plain
    )
    with pytest.raises(CreditError, match="'lipsum' is undefined"):  # ours is not the one that was just made
        render(source)


ORDINARY = [
    CHATML,
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} "
    "{{ loop.previtem.role if loop.previtem is defined }} {{ loop.nextitem is defined }} {{ m.content | trim }}\n{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ m['content'] ~ 1 ~ none ~ [1, 'b'] }}{% else %}none{% endfor %}",
    "{% for m in nothing %}x{% else %}empty{% endfor %}{{ messages | tojson(indent=2) }}{{ messages }}",
    "{% for k, v in messages[0].items() %}{{ k | upper }}={{ v }};{% endfor %}{{ '%s-%05d' % ('a', 3) }}",
    "{{ '%s' | format(2) }}{{ 'x{:>4}'.format(7) }}{{ 'ab'.replace('a', 'c') }}{{ 'a,b'.split(',') | join('-') }}",
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{{ loop.depth }}{% endfor %}",
    "{% for i in range(9) %}{% if i == 3 %}{% continue %}{% elif i == 6 %}{% break %}{% endif %}{{ i * 2 ** i }}{% endfor %}",
    "{% macro m(a, b=2) %}[{{ a }}{{ b }}{{ caller() if caller }}]{% endmacro %}{{ m(1) }}{% call m(3, b='x') %}c{% endcall %}",
    "{% set text %}  a{{ messages | length }}\n{% endset %}{{ text | indent(2) }}{{ [3, 1] | sort }}{{ 'a' 'b' ~ 'c' }}{{ -7 % 3 }}",
    "{% filter upper %}a{{ 'é' }}{% endfilter %}{{ dict(a=1) }}{{ namespace(a=1).a }}{{ [1, 2] + [3] }}{{ 1 + 2.5 }}{{ 3 * 'ab' }}",
]  # fmt: skip
PLAINLY = """
import json, sys
from tiny import tokenizer
chat, templates = map(json.loads, sys.argv[1:])
made = tokenizer()
print(json.dumps([made.apply_chat_template(chat, chat_template=source, tokenize=False) for source in templates]))
"""


def test_ordinary_templates_write_what_they_write_without_bounds() -> None:
    chat = json.dumps([message.fields for message in CHAT])
    asked = [sys.executable, "-c", PLAINLY, chat, json.dumps(ORDINARY)]  # where our bounds were never imported
    ended = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert ended.returncode == 0, ended.stderr
    assert [render(template) for template in ORDINARY] == json.loads(ended.stdout.splitlines()[-1])

"""Bounds on what a chat template may take: it is a program of the model's author, and may run for hours or fill memory.

Inside `bounded()`, what transformers compiles counts each turn of a loop and each call, and looks at sizes before they
grow: so a template ends, in any thread and on any system. Outside of it templates are transformers' own, as ever.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache, wraps
from types import FunctionType
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

SECONDS = 3.0  # of the processor's time for one rendering; one of a chat takes a few hundred microseconds
MOST = 2**24  # characters of a text, or values in a list
MOST_WRITTEN = 2**17  # values within values of a list
MOST_MADE = 2**29  # characters and values that all operations of a rendering make
MOST_BITS = 2**16  # of a whole number
_EVERY = 16  # steps from one look at the clock to the next
_WIDE_NUMBER = re.compile(r"\d{7}")  # a width in a format, of millions of characters


class TemplateLimit(Exception):
    """What a template takes too much of."""


class _Budget:
    """What a rendering has taken so far."""

    def __init__(self) -> None:
        self.steps = self.made = 0
        self.looks = time.perf_counter() + SECONDS / 2  # on some systems only this clock costs nothing
        self.ends: float | None = None

    def step(self) -> None:
        """A turn of a loop, or a call."""
        self.steps += 1
        if self.steps % _EVERY == 0 and time.perf_counter() > self.looks:
            if self.ends is None:
                self.ends = time.thread_time() + SECONDS / 2
            if time.thread_time() > self.ends:
                raise TemplateLimit(f"does not end within {SECONDS:g} s")

    def grow(self, size: int) -> None:
        """A value of a size is made, or about to be."""
        self.made += size
        if size > MOST or self.made > MOST_MADE:
            raise TemplateLimit(f"makes texts or lists of more than {MOST:,} characters or values")

    def weigh(self, value: Any) -> None:
        """A value with all that it holds: what is held twice counts twice, as where it is written or compared."""
        left, size, values = [value], 0, 0
        while left:
            self.step()
            held = left.pop()
            values += 1
            if isinstance(held, str):
                size += len(held)
            elif isinstance(held, Mapping):
                left += [*held.keys(), *held.values()]
            elif isinstance(held, list | tuple):
                left += held
            if size > MOST or values + len(left) > MOST_WRITTEN:
                self.grow(MOST + 1)


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """What templates render in this block, in this thread, is bounded; one too greedy raises `TemplateLimit`."""
    theirs = sys.modules.get("transformers.utils.chat_template_utils")  # there, if a tokenizer of transformers is
    if theirs is not None:
        _take_turns(theirs)
    token = _BUDGET.set(_Budget())
    try:
        yield
    finally:
        _BUDGET.reset(token)


@cache
def _take_turns(theirs: Any) -> None:
    """Have transformers ask us for a template that renders in `bounded()`, and make its own anywhere else."""
    plain, function = theirs._compile_jinja_template, inspect.unwrap(theirs._cached_compile_jinja_template)
    # its very function, with another class under the name of its environment's
    names = {**vars(theirs), "ImmutableSandboxedEnvironment": BoundedEnvironment}
    counting = lru_cache(maxsize=64)(FunctionType(function.__code__, names))
    theirs._compile_jinja_template = lambda text: (plain if _BUDGET.get() is None else counting)(text)


class _Filters(dict[str, Callable[..., Any]]):
    """Filters, each of which is counted."""

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        @wraps(function)  # with its marks, by which Jinja knows what to pass
        def counted(*given: Any, **named: Any) -> Any:
            return _counted(name, function, given, named)

        super().__setitem__(name, counted)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """transformers' environment, which counts what a template does."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        filters = _Filters()
        for name, function in self.filters.items():
            filters[name] = function
        self.filters = filters
        self.finalize = _written
        del self.globals["lipsum"]  # any number of words from one call

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        return super()._generate(_Counting().visit(source), *arguments, **options)

    def concat(self, pieces: Iterable[str]) -> str:  # type: ignore[override]
        """A text of pieces."""
        budget = _BUDGET.get()
        if budget is None:
            return "".join(pieces)
        kept, size = [], 0
        for piece in pieces:
            kept.append(piece)
            size += len(piece)
            if size > MOST:
                budget.grow(size)
        budget.grow(size)
        return "".join(kept)

    def call(__self, __context: Any, __obj: Any, *given: Any, **named: Any) -> Any:
        """A call from a template."""
        called = super().call
        receiver = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # the sandbox wraps `format`
        name = getattr(__obj, "__name__", "") if isinstance(receiver, str) else ""
        _written(given), _written(named)
        before = (receiver,) if name else ()
        return _counted(name, lambda *_, **__: called(__context, __obj, *given, **named), (*before, *given), named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operation of `intercepted_binops`."""
        budget = _BUDGET.get()
        if budget is None:
            return super().call_binop(context, operator, left, right)
        if operator == "+":  # what most templates do most
            return _kept(budget, left + right)
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MOST_BITS:
                raise TemplateLimit(f"makes numbers of more than {MOST_BITS:,} bits")
        elif operator == "*":
            for several, times in ((left, right), (right, left)):
                if isinstance(several, str | list | tuple) and isinstance(times, int):
                    budget.grow(len(several) * max(times, 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(budget, left, (right,))
        return _kept(budget, super().call_binop(context, operator, left, right))

    @staticmethod
    def counted(values: Iterable[Any]) -> Iterator[Any]:
        """What a loop goes over."""
        budget = _BUDGET.get()
        for value in values:
            if budget is not None:
                budget.step()
                if isinstance(value, list | tuple):
                    budget.weigh(value)
            yield value

    @staticmethod
    def made(value: Any) -> Any:
        """A list, a tuple or a dictionary that a template writes."""
        return _written(value)

    @staticmethod
    def joined(*values: Any) -> str:
        """What `~` makes of values."""
        budget = _BUDGET.get()
        if budget is None:
            return "".join(map(str, values))
        texts = [str(_written(value)) for value in values]
        budget.grow(sum(map(len, texts)))
        return "".join(texts)


class _Counting(NodeTransformer):
    """Loops and `~`, which a sandbox cannot see, become calls of the environment's."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _call("counted", [node.iter], node)
        return node

    def visit_List(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Expr:
        self.generic_visit(node)
        holds_more = any(not isinstance(part, nodes.Const) for part in node.find_all(nodes.Expr))
        return _call("made", [node], node) if holds_more else node

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        return self.visit_List(node) if node.ctx == "load" else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return _call("joined", node.nodes, node)


def _call(name: str, given: list[Any], node: nodes.Node) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), given, [], None, None, lineno=node.lineno)


def _written(value: Any) -> Any:
    """A value that is about to be written."""
    budget = _BUDGET.get()
    if budget is not None and isinstance(value, Mapping | list | tuple):
        budget.weigh(value)
    return value


def _counted(name: str, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What a method of a text, a filter or another function gives."""
    budget = _BUDGET.get()
    if budget is None:
        return function(*given, **named)
    budget.step()
    if name:
        _check(budget, name, [*given, *named.values()])
    return _kept(budget, function(*given, **named))


def _kept(budget: _Budget, result: Any) -> Any:
    """What an operation made. Of a list all that it holds counts: comparing it, or its hash, could not be stopped."""
    if isinstance(result, str):
        budget.grow(len(result))
    elif isinstance(result, list | tuple | dict):
        budget.grow(len(result))
        budget.weigh(result)
    return result


def _check(budget: _Budget, name: str, given: list[Any]) -> None:
    """Refuse a method or a filter that would make too much of what it is given: it cannot be stopped."""
    widths = [value for value in given if isinstance(value, int)]
    texts = [value for value in given if isinstance(value, str)]
    lists = [value for value in given if isinstance(value, list | tuple | Mapping)]
    if name in ("center", "ljust", "rjust", "zfill", "indent", "expandtabs", "slice", "batch", "tojson", "round"):
        breaks = 1 + sum(text.count("\n") + text.count("\t") for text in texts[:1])
        for value in lists:
            budget.weigh(value)
        budget.grow(breaks * max((0, *widths)))
        if name == "tojson" and lists and (widths or texts):
            budget.grow(max((1, *widths)) * len(json.dumps(lists[0], default=str)))
    elif name == "replace" and len(texts) > 2:
        budget.grow(len(texts[0]) + texts[0].count(texts[1]) * len(texts[2]))
    elif name == "join":
        joint = max(map(len, texts), default=0)
        for value in lists:
            budget.weigh(value)
            budget.grow(joint * len(value))
        if len(texts) > 1:
            budget.grow(len(texts[0]) * len(texts[1]))
    elif name in ("format", "format_map", "strftime") and texts:
        _check_format(budget, texts[0], given[1:])
    elif name in ("string", "pprint", "sum", "translate", "urlencode", "xmlattr", "list"):
        for value in lists:
            budget.weigh(value)
            budget.grow(len(value) * len(texts[0]) if name == "translate" else 0)


def _check_format(budget: _Budget, text: str, given: Iterable[Any]) -> None:
    wide = _WIDE_NUMBER.search(text) or any(isinstance(value, int) and value > MOST for value in _flat(given))
    if wide and re.search(r"%[-+ #0]*[\d*.]|:[^}:\d{]*+[\d{]", text):
        budget.grow(MOST + 1)
    for value in given:
        _written(value)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)

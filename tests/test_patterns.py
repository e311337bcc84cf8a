"""No pattern of ours takes the square of a text's length; those made linear match what the plain ones do."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import regex

import dpo_credit
from dpo_credit.corrupt.corrupt import Plan, corrupt
from dpo_credit.corrupt.errors import number, passage, relation
from dpo_credit.credit import Example
from dpo_credit.demo import reading
from dpo_credit.demo.world import topics
from dpo_credit.rows import prompts, tally
from dpo_credit.rows.tally import Tally
from dpo_credit.segments import is_boundary, joined, segments_of
from dpo_credit.trajectory.runs import checkpoints
from dpo_credit.verify import references

SIZE = 3000  # characters; a linear pattern reads as many in far less than FLOOR_S
FLOOR_S = 0.02
GREW = 12.0  # at most, on four times the text: the square would be 16
UNITS = (
    *"aA10.,-'\"`[]()*_~|# \n\r\t%:$<&!?;—é漢\u200d\u00a0\U0001f1e6",
    *("\r\n", "\n\n", " \n", "|\n", "- ", ". ", ".)", "1,", "1-", "1/", "1 ", "1.", "a@", "a.", "A.", "a'", "'a "),
    *("A-", "A-A", "1-A", "-Aa", "A--", "A a ", "](", "```", "http://", "www.", "r/", "0x", "{a", "%0", " - ", "—-"),
    *("human:", "\n\nhuman", "\r\n\r\nhuman", "edit ", "from A to A ", "from ", "A over ", "A is ", "more ", "eval_"),
    *("$1 to ", "1 of ", "checkpoint-1", "Preferred:", "Preferred: A", " \t", "\n- ", "> ", "[a|", "{0", "\x00"),
)  # fmt: skip
AS_IN = {"compile": "finditer", "sub": "finditer", "split": "finditer", "findall": "finditer"}
# read by one method alone, and linear in that one
METHODS = {references._EVALUATION.pattern: "fullmatch"}
KIND = tally._VARIES.pattern  # reads a text's first characters alone


def held(value: object) -> Iterator[re.Pattern[str]]:
    """The compiled patterns in a value of a module."""
    if isinstance(value, re.Pattern | regex.Pattern):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        for part in value.values() if isinstance(value, dict) else value:
            yield from held(part)


def patterns() -> dict[str, tuple[re.Pattern[str], str]]:
    """Every pattern of the package with the method that reads a text: of modules, and in functions."""
    every = {}
    for module in pkgutil.walk_packages(dpo_credit.__path__, "dpo_credit."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                for n, pattern in enumerate(held(value)):
                    method = METHODS.get(pattern.pattern, "finditer")
                    every[f"{module.name}.{name}.{n}"] = (pattern, method)
    for path in Path(dpo_credit.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                of_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                if of_re and isinstance(node.args[0], ast.Constant) and node.func.attr != "compile":
                    pattern = re.compile(str(node.args[0].value))
                    every[f"{path.name}:{node.lineno}"] = (pattern, AS_IN.get(node.func.attr, node.func.attr))
    first = next(iter(topics()))
    for n, pattern in enumerate([*reading._openers(), *reading._clauses(first)[:20]]):
        every[f"reading.{n}"] = (pattern, "finditer")
    return every


def reads(pattern: re.Pattern[str], method: str, text: str) -> None:
    matched = getattr(pattern, method)(text)
    if method == "finditer":
        for _ in matched:
            pass


def grows(take: Callable[[int], object]) -> str:
    """How much longer four times the text takes, where that is too much; the least of three times each."""

    def seconds(size: int) -> float:
        began = time.thread_time()
        take(size)
        return time.thread_time() - began

    large = seconds(4 * SIZE)
    if large < FLOOR_S:
        return ""
    large = min(large, *(seconds(4 * SIZE) for _ in range(2)))
    small = min(seconds(SIZE) for _ in range(3))
    return f"{small:.4f} s became {large:.4f} s" if large > max(FLOOR_S, GREW * small) else ""


@pytest.mark.slow
def test_no_pattern_takes_the_square_of_a_texts_length() -> None:
    slow = {
        (name, before, unit): grew
        for name, (pattern, method) in patterns().items()
        for unit in UNITS
        for before in ("x",)
        if pattern.pattern != KIND
        and (grew := grows(lambda size: reads(pattern, method, before + unit * (size // len(unit)) + "\x00")))  # noqa: B023
    }
    assert slow == {}


@pytest.mark.slow
def test_this_test_can_fail() -> None:
    assert grows(lambda size: reads(re.compile("a+b"), "finditer", "a" * size))


def test_every_kind_of_pattern_is_among_those_tried() -> None:
    named = patterns()
    assert {"dpo_credit.corrupt.errors.relation._TURNED.2", "dpo_credit.rows.prompts._TURN.0", "reading.0"} <= set(
        named
    )
    assert sum(name.startswith(("bounded.py", "chat.py", "encode.py")) for name in named) == 3


PLAIN = {
    number._CODE: (r"\d+(?:[-/.]\d+){2,}|\d+/\d+|\d+ \d+(?= \w)", "0011-/. x"),
    passage._BREAK: (
        r"[!?|;\n]+|(?:(?<![A-Z])|(?<=\bI))\.+(?=[\"')\]]*(?:\s|$|[A-Z][a-z ]))| {2,}|\s[-–—]+\s|—",
        "...AIaI!\n\"') ]—-?",
    ),
    prompts._TURN: (
        r"(?i)(?:\A\s*|(?<!\n)(?:\r?\n){2,}+)(?P<who>human|assistant)(?P<colon>:|(?=[ \r\n]))",
        ("\r", "\n", "\r\n", "\r\n", "human", "Human:", "assistant:", "x", " "),
    ),
    relation._TURNED[1]: (
        rf"\b(?P<one>{relation._NAME}) (?:is|was|are|were) (?:much |far |way |a lot )?"
        rf"(?:\w+er|better|worse|(?:more|less) \w+) than (?P<two>{relation._NAME})\b",
        ("A", "Ab", "-", "a", " is older than ", " ", "é", "B-C", "1", "."),
    ),
    relation._TURNED[2]: (
        rf"\b(?P<one>{relation._NAME}) (?:over|instead of|rather than) (?P<two>{relation._NAME})\b",
        ("A", "Ab", "-", "a", " over ", " ", "é", "B-C", "1", "."),
    ),
}


@pytest.mark.parametrize(("linear", "plain"), PLAIN.items(), ids=("code", "break", "turn", "comparison", "choice"))
def test_linear_patterns_match_what_the_plain_ones_do(linear: re.Pattern[str], plain: tuple[str, str]) -> None:
    written, alphabet = plain
    draw, matched = random.Random(0), 0
    for _ in range(20_000):
        text = "".join(draw.choices(alphabet, k=draw.randrange(13)))
        told = [[_places(match) for match in pattern.finditer(text)] for pattern in (linear, re.compile(written))]
        assert told[0] == told[1], text
        matched += bool(told[0])
    assert matched > 100


def _places(match: re.Match[str]) -> list[tuple[int, int]]:
    """Where its groups are, or all of it if it has none."""
    return [match.span(name) for name in match.groupdict()] or [match.span()]


def test_flags_are_pairs_of_letters_from_the_run_on() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices("\U0001f1e6\U0001f1ff\U0001f1eba", k=9))
        for at in range(1, 9):
            run = next((n for n in range(at, 0, -1) if text[n - 1] == "a"), 0)  # where the letters before it begin
            assert is_boundary(text, at) == (text[at] == "a" or (at - run) % 2 == 0), (text, at)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["\U0001f1e6", "\n", '"', ".", "\u200d", "a", ". \n"])
def test_segments_and_sentences_of_a_long_answer_take_linear_time(unit: str) -> None:
    def take(size: int) -> None:
        answer = unit * (4 * size // len(unit))
        count = len(answer)
        spans, none = tuple((n, n + 1) for n in range(count)), [0.0] * count
        made = segments_of(
            answer, spans, ["x"] * count, rewards=none, policy_logps=none, reference_logps=none
        )  # fmt: skip
        joined(made, "sentence")

    assert not grows(take)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["0", ".", "A-", "A-A over ", "\n", "\r\n", "|\n1. ", "1/"])
def test_making_an_answer_wrong_takes_linear_time(unit: str) -> None:
    assert not grows(lambda size: corrupt(Example("p", f"He paid 3 dollars. x{unit * (size // len(unit))}x"), Plan()))


def test_a_kind_of_note_is_told_by_its_beginning_in_little_time() -> None:
    began = time.thread_time()
    kinds = Tally()
    kinds.add("a", ["it's 3 " + "'a " * 100_000])
    kinds.add("b", ["it's 4 " + "'a " * 100_000])
    assert time.thread_time() - began < 1 and [kind.count for kind in kinds.kinds] == [2]


def test_a_step_is_the_number_that_a_name_ends_with() -> None:
    steps = [at.step for at in checkpoints("m@" + "1" * 200 + "x,checkpoint-7,8/")]
    assert steps == [1, 7, 8]

"""What is done for an answer grows with its length, not with its square."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from time import process_time

import pytest
from credits import credit

from dpo_credit.credit import Credit
from dpo_credit.segments import Unit

_END = re.compile(r"[.!?。！？…][\"')\]”’]*\s*$|\n\s*$")


def answer(pieces: list[str]) -> Credit:
    return credit(pieces, [0.0] * len(pieces))


def naive_sentences(pieces: list[str]) -> list[str]:
    """Sentences by looking at all of the text so far, for each token again."""
    sentences = [pieces[0]]
    for piece in pieces[1:]:
        so_far = sentences[-1]
        ended = so_far.strip() and _END.search(so_far) and (piece[0].isspace() or so_far[-1].isspace())
        sentences[-1:] = [so_far, piece] if ended else [so_far + piece]
    return sentences


def test_sentences_are_those_of_looking_at_all_the_text_so_far() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        pieces = ["".join(draw.choices('ab.!")\n  ', k=draw.randint(1, 3))) for _ in range(12)]
        assert [segment.text for segment in answer(pieces).by("sentence")] == naive_sentences(pieces)


@pytest.mark.parametrize(
    ("unit", "pieces"),
    [
        ("word", ["abcd"]),
        ("sentence", [" abc"]),
        ("sentence", ["."]),
        ("sentence", ["\n"]),
        ("token", ["\N{REGIONAL INDICATOR SYMBOL LETTER A}"]),
    ],
)
def test_an_answer_twice_as_long_takes_about_twice_as_long(unit: Unit, pieces: list[str]) -> None:
    short, long = answer(pieces * 1000), answer(pieces * 8000)

    def seconds(work: Callable[[], object]) -> float:
        start = process_time()
        work()
        return process_time() - start

    seconds(lambda: short.by(unit))
    # 8 times the length: 64 times the time, were it quadratic; a second is what that is on a slow machine
    assert seconds(lambda: long.by(unit)) < max(24 * seconds(lambda: short.by(unit)), 1.0)

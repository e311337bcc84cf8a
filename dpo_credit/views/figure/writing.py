"""How scripts run where each token is a cell of its own: which letters touch across a cut, and what stands on the left.

Source: Unicode Standard Annex #9, "Unicode Bidirectional Algorithm", with a cell or a white space as its smallest part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby

import regex

JOINER, LEFTWARD = "\u200d", "\u200f"  # before or after a letter, its joined form; before a text, its direction
_TOUCHES_NEXT = regex.compile(r"(?r)[\p{JT=D}\p{JT=L}\p{JT=C}]\p{JT=T}*")  # read from the end
_TOUCHES_LAST = regex.compile(r"\p{JT=T}*[\p{JT=D}\p{JT=R}\p{JT=C}]")


def joined(texts: Sequence[str]) -> list[str]:
    """The parts of a text with joiners where a cut parts letters that touch, so that each part's forms are right."""
    cuts = [
        bool(_TOUCHES_NEXT.match(before) and _TOUCHES_LAST.match(after))
        for before, after in zip(["", *texts], [*texts, ""], strict=True)
    ]
    return [JOINER * cuts[n] + text + JOINER * cuts[n + 1] for n, text in enumerate(texts)]


def turned(text: str, *, leftward: bool) -> str:
    """The text with what has it drawn from right to left, unless it has letters that run the other way."""
    return LEFTWARD + text if leftward and _kind(text) != "L" else text


def levels(parts: Sequence[str], *, leftward: bool) -> list[int]:
    """How deep each part of a line is embedded: odd if it runs leftward.

    Args:
        parts: texts in reading order, white space apart.
        leftward: whether the line runs from right to left.
    """
    base = "R" if leftward else "L"
    kinds = [_kind(part) for part in parts]
    for n, kind in enumerate(kinds):  # 1,000 and 5% are one number each
        around = [kinds[at] if 0 <= at < len(kinds) else "" for at in (n - 1, n + 1)]
        if (kind == "separator" and around == ["number"] * 2) or (kind == "sign" and "number" in around):
            kinds[n] = "number"
    last = base
    for n, kind in enumerate(kinds):
        if kind in ("L", "R"):
            last = kind
        elif kind == "number" and last == "L":
            kinds[n] = "L"
    sides = {"L": "L", "R": "R", "number": "R"}  # what has no direction takes that of both its neighbours
    at = 0
    for known, run in groupby(list(kinds), sides.__contains__):
        length = len(list(run))
        if not known:
            before = sides[kinds[at - 1]] if at else base
            after = sides[kinds[at + length]] if at + length < len(kinds) else base
            kinds[at : at + length] = [before if before == after else base] * length
        at += length
    depth = {"R": 1, "L": 2, "number": 2} if leftward else {"L": 0, "R": 1, "number": 2}
    return [depth[kind] for kind in kinds]


def from_the_left(depths: Sequence[int]) -> list[int]:
    """The parts of these levels as they stand from left to right."""
    order = list(range(len(depths)))
    for depth in range(max(depths, default=0), 0, -1):
        at = 0
        for deep, run in groupby([depths[n] >= depth for n in order]):
            length = len(list(run))
            if deep:
                order[at : at + length] = reversed(order[at : at + length])
            at += length
    return order


def _kind(text: str) -> str:
    """L or R by the first letter with a direction; else what a text of digits or signs is, or nothing."""
    classes = [unicodedata.bidirectional(char) for char in text]
    for kind in classes:
        if kind in ("L", "R", "AL"):
            return "L" if kind == "L" else "R"
    if "EN" in classes or "AN" in classes:
        return "number"
    return {"CS": "separator", "ES": "separator", "ET": "sign"}.get(next(iter(classes), ""), "")

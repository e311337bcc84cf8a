"""A change to an answer, and what keeps it English: capital letters and the articles before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dpo_credit.corrupt.errors.passage import Passage

# Spelled with a vowel but said with a consonant, and the other way round.
_A = re.compile(r"(?:uni(?!n|m)|use|usu|util|u[bckrst][aeiou]|eu|ew|one|once)", re.IGNORECASE)
_AN = re.compile(r"(?:hour|honest|honou?r|heir|8|11(?!\d)|18(?!\d)|[AEFHILMNORSX](?:[A-Z\d]|\b))")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


class Replacement(NamedTuple):
    """New text in the place of the characters [start, end) of an answer."""

    start: int
    end: int
    text: str


class Change(NamedTuple):
    """One way to make an answer wrong: its edits stand or fall together and do not overlap."""

    kind: str
    edits: tuple[Replacement, ...]

    @property
    def start(self) -> int:
        return self.edits[0].start

    @property
    def end(self) -> int:
        return self.edits[-1].end


def article(word: str) -> str:
    """ "a" or "an", as the word is said."""
    if _AN.match(word):
        return "an"
    return "an" if word[:1].lower() in tuple("aeiou") and not _A.match(word) else "a"


def like(model: str, text: str) -> str:
    """Text in the capitals of what it stands for."""
    letters = [char for char in model if char.isalpha()]
    if len(letters) > 1 and all(char.isupper() for char in letters):
        return text.upper()
    return text[:1].upper() + text[1:] if model[:1].isupper() else text


def mended(answer: Passage, change: Change) -> Change:
    """The change with the articles before its edits taken in where they have to be others."""
    edits = []
    for edit in change.edits:
        match = _ARTICLE.search(answer.text, max(0, edit.start - 9), edit.start)
        old, new = answer.text[edit.start : edit.end], edit.text
        if match and old and new and match[1].lower() == article(old) != article(new):
            fixed = article(new).capitalize() if match[1][0] == "A" else article(new)
            edit = Replacement(match.start(), edit.end, fixed + match[2] + new)
        edits.append(edit)
    return change._replace(edits=tuple(edits))


def applied(text: str, edits: Iterable[Replacement]) -> tuple[str, tuple[Replacement, ...]]:
    """A text with edits made, and where each new text stands in it. Edits are in order and do not overlap."""
    out, cursor, placed = "", 0, []
    for edit in edits:
        out += text[cursor : edit.start]
        placed.append(Replacement(len(out), len(out) + len(edit.text), edit.text))
        out += edit.text
        cursor = edit.end
    return out + text[cursor:], tuple(placed)


def single(kind: str, start: int, end: int, options: Iterable[str]) -> Iterator[Change]:
    """A change for each of several texts in one place."""
    for option in options:
        yield Change(kind, (Replacement(start, end, option),))

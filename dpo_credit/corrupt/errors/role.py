"""Wrong people: a role swapped for another that the same pronouns fit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from dpo_credit.corrupt.errors.change import Change
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.senses import Sense, found, swaps
from dpo_credit.corrupt.errors.words import load

KIND = "role"
_GENDERED = frozenset(load("grammar")["gendered"])


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every other role that could stand in the place of one of the answer's."""
    tables = table(bool(_GENDERED & answer.vocabulary))
    for index, word in enumerate(answer.words):
        place = found(answer, index, tables)
        if place is None or _set_phrase(answer, index, word.key):
            continue
        yield from swaps(answer, post, place)


@cache
def table(gendered: bool) -> dict[str, Sense]:
    """Every role with those it may be swapped for: of the same gender only, where pronouns give that away."""
    out: dict[str, Sense] = {}
    for group in load("people")["group"]:
        lines = {gender: group.get(gender, []) for gender in "fmn"}
        for gender, roles in lines.items():
            fitting = [gender, "n"] if gendered else ["f", "m", "n"]
            others = [line for sex in dict.fromkeys(fitting) for line in lines[sex]]
            others += [[role] for role in group.get("also", [])]
            for line in roles:
                sense = Sense(KIND, tuple(line), tuple(tuple(other) for other in others if other is not line))
                out |= {word: sense for word in line}
    return out


def _set_phrase(answer: Passage, index: int, key: str) -> bool:
    """Whether the word is part of a phrase that names something else: "best friend", "mother in law", "oh man"."""
    before, after = answer.behind(index), answer.beside(index)
    if before in ("best", "oh", "ex", "step", "hey", "dear") or after in (
        "in",
        "of",
        "friend",
        "friends",
        "hood",
        "scout",
    ):
        return True
    if key == "so":
        return answer.words[index].text != "SO" or before not in ("my", "your", "his", "her")
    return key in ("man", "guys", "dude", "bro", "sis", "son", "girl", "boy", "lady") and not before

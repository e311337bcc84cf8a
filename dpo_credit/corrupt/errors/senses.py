"""Words of a kind: which others could stand in a word's place, and which of them would still be true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_credit.corrupt.errors.change import Change, Replacement, like
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.words import inflect, is_plural, lemma, load, plural

_BEFORE_NOUNS = frozenset(load("grammar")["before_nouns"])


@dataclass(frozen=True, slots=True)
class Sense:
    """What a word stands for: the names for the same (`aliases`), and one name for each other of its kind (`others`).

    `proper` names keep their capital letters and have no plural.
    """

    kind: str
    aliases: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    proper: bool = False
    written_small: bool = False
    not_after: tuple[str, ...] = ()


def senses(kind: str, lines: Sequence[Sequence[str]], **more: Any) -> dict[str, Sense]:
    """Every word of a list of lines of aliases, with its sense."""
    return {
        word.lower(): Sense(kind, tuple(line), tuple(tuple(other) for other in lines if other is not line), **more)
        for line in lines
        for word in line
    }


@dataclass(frozen=True, slots=True)
class FoundSense:
    """A word of a kind in an answer: the words [first, last), the characters [start, end), and its sense."""

    first: int
    last: int
    start: int
    end: int
    sense: Sense
    is_plural: bool


def found(answer: Passage, index: int, table: Mapping[str, Sense]) -> FoundSense | None:
    """The word or two at a place, if a table knows them and they are used as a noun there."""
    word = answer.words[index]
    stem = word.key.removesuffix("'s").removesuffix("s'") if "'" in word.key else word.key
    end = word.start + len(stem)
    if answer.beside(index) and (pair := f"{stem} {answer.beside(index)}") in table:
        after = answer.words[index + 1]
        if word.text[0].isupper():
            return FoundSense(index, index + 2, word.start, after.end, table[pair], False)
    single = lemma(stem, "NOUN") if is_plural(stem) and stem not in table else None
    sense = table.get(stem) or (table.get(single) if single else None)
    if sense is None or (sense.proper and single):
        return None
    if sense.proper and not sense.written_small and not word.text[0].isupper():
        return None
    if answer.behind(index) in sense.not_after or (not sense.proper and _modifies(answer, index)):
        return None
    is_owned = answer.behind(index).endswith("'s")
    if not sense.proper and lemma(stem, "VERB") and not is_owned and answer.behind(index) not in _BEFORE_NOUNS:
        adjective = (
            answer.behind(index) and lemma(answer.behind(index), "ADJ") and not lemma(answer.behind(index), "VERB")
        )
        if not adjective:
            return None
    return FoundSense(index, index + 1, word.start, end, sense, single is not None)


def _modifies(answer: Passage, index: int) -> bool:
    """Whether a noun stands before another: a "movie theater" is no "song theater"."""
    after = answer.beside(index) if "'" not in answer.key(index) else ""
    return (
        bool(lemma(after, "NOUN"))
        and not any(lemma(after, kind) for kind in ("VERB", "ADJ", "ADV"))
        and after not in _BEFORE_NOUNS
    )


def swaps(answer: Passage, post: Passage, place: FoundSense) -> Iterator[Change]:
    """Another of its kind in a word's place: one that the post does not know, or one it does not say the same of."""
    claim = answer.claim(place.first, place.last)
    written = answer.text[place.start : place.end]
    start = place.start
    for other in place.sense.others:
        names = [name for name in other if mentions(post, name)]
        if any(post.says(name, claim) for name in names) or any(mentions(answer, name) for name in other):
            continue
        name = plural(other[0]) if place.is_plural else other[0]
        if place.sense.proper:
            text = name.lower() if written.islower() else name
        else:
            text = like(written, name) if len(written) > 3 else (name.capitalize() if written[0].isupper() else name)
        yield Change(place.sense.kind, (Replacement(_with_the(answer, place, start), place.end, text),))


def mentions(passage: Passage, name: str) -> bool:
    """Whether a passage has a name, or its plural."""
    key = name.lower()
    if " " in key or "-" in key:
        return key in passage.lower
    return key in passage.vocabulary or (key.isalpha() and inflect(key, "NNS") in passage.vocabulary)


def _with_the(answer: Passage, place: FoundSense, start: int) -> int:
    """Where the name begins with its article: "the US" is "Canada" elsewhere."""
    if place.sense.proper and answer.behind(place.first) == "the" and answer.words[place.first].text.isupper():
        return answer.words[place.first - 1].start
    return start

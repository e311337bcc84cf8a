"""Wrong names and things: places, people, products and everyday things, each swapped for another of its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from dpo_credit.corrupt.errors import role
from dpo_credit.corrupt.errors.change import Change, Replacement
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.senses import FoundSense, Sense, found, senses, swaps
from dpo_credit.corrupt.errors.words import lemma, load

KIND = "entity"
_NOT_NAMES = frozenset(load("things")["not_names"])
_TITLE = re.compile(r"[A-Z][a-z]+(?:[ '’][A-Za-z]+)*")
_ACRONYM = re.compile(r"[A-Z\d]+")
_DETERMINERS = frozenset(load("grammar")["determiners"])


@cache
def table() -> dict[str, Sense]:
    """Every name and thing that the lists know."""
    out: dict[str, Sense] = {}
    for kind in load("things")["kind"]:
        small = kind["name"] in ("site", "holiday")
        more = {"proper": kind.get("proper", False), "not_after": tuple(kind.get("not_after", ()))}
        out |= senses(KIND, kind["words"], written_small=small, **more)
    for names in load("people")["names"].values():
        out |= senses(KIND, [[name] for name in names], proper=True)
    return out


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every other name or thing that could stand in the place of one of the answer's."""
    for index in range(len(answer.words)):
        place = found(answer, index, table())
        if place is not None and not _part_of_a_name(answer, place):
            yield from swaps(answer, post, place)
    yield from _unlisted(answer, post)


class _Name(NamedTuple):
    """A run of capitalised words [first, last) that no list knows."""

    first: int
    last: int
    text: str

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.text.lower().split())


def _unlisted(answer: Passage, post: Passage) -> Iterator[Change]:
    """A name of the post, swapped for another that is used alike in it."""
    known = list(_names(post))
    texts = {name.text for name in known}
    for name in _names(answer, texts):
        if name.text not in texts:
            continue
        claim = answer.claim(name.first, name.last)
        uses = {_use(post, other) for other in known if other.text == name.text}
        seen: set[str] = set()
        for other in known:
            if other.text in seen or other.keys & name.keys or _use(post, other) not in uses | {_use(answer, name)}:
                continue
            seen.add(other.text)
            if other.text in answer.text or post.says(other.text, claim) or not _alike(name.text, other.text):
                continue
            start = answer.words[name.first].start
            yield Change(KIND, (Replacement(start, start + len(name.text), other.text),))


def _names(passage: Passage, trusted: set[str] | None = None) -> Iterator[_Name]:
    """Runs of capitalised words inside a sentence; at its beginning only those of `trusted`."""
    index, words = 0, passage.words
    while index < len(words):
        last = index
        while (
            last < len(words)
            and _is_name(passage, last)
            and (last == index or passage.text[words[last - 1].end : words[last].start] == " ")
        ):
            last += 1
        if last > index:
            text = passage.text[words[index].start : words[last - 1].end].removesuffix("'s").removesuffix("’s")
            if (text in trusted) if trusted is not None else not _opens(passage, index):
                yield _Name(index, last, text)
        index = max(last, index + 1)


def _opens(passage: Passage, index: int) -> bool:
    """Whether a word begins a sentence, a quotation or a line: there every word has a capital."""
    return passage.first_in_sentence(index) or not passage.behind(index)


def _is_name(passage: Passage, index: int) -> bool:
    word = passage.words[index]
    stem = word.key.removesuffix("'s")
    if (
        not word.text[0].isupper()
        or len(word.text) < 2
        or stem in table()
        or stem in role.table(True)
        or "'" in stem
        or stem in _NOT_NAMES
    ):
        return False
    if stem in passage.vocabulary and stem in passage.spellings:
        return False  # written small elsewhere: no name, but emphasis or a heading
    if word.text.isupper() and (len(word.text) > 5 or lemma(stem, "VERB") or lemma(stem, "ADJ") or lemma(stem, "ADV")):
        return False  # shouting
    return bool(lemma(stem, "NOUN")) or not (lemma(stem, "ADJ") or lemma(stem, "ADV") or lemma(stem, "VERB"))


def _use(passage: Passage, name: _Name) -> tuple[bool, bool]:
    """How a name is used: with an article or a possessive, and before a noun or not."""
    after = passage.beside(name.last - 1)
    return passage.behind(name.first) in _DETERMINERS, bool(lemma(after, "NOUN")) and not lemma(after, "VERB")


def _alike(name: str, other: str) -> bool:
    """Whether two names look like the same kind of name: acronyms or words, as many words, both plural or neither."""
    same_shape = any(shape.fullmatch(name) and shape.fullmatch(other) for shape in (_TITLE, _ACRONYM))
    return same_shape and len(name.split()) == len(other.split()) and name.endswith("s") == other.endswith("s")


def _part_of_a_name(answer: Passage, place: FoundSense) -> bool:
    """Whether a listed word is one of several that make a name: "Boston Children's", "Texas Instruments".

    Two listed words side by side are not: "Hilton Hotel" is a hotel by that name.
    """
    if not answer.words[place.first].text[0].isupper():
        return False
    first, last = place.first, place.last
    while first > 0 and answer.behind(first) and _capital(answer, first - 1):
        first -= 1
    while last < len(answer.words) and answer.beside(last - 1) and _capital(answer, last):
        last += 1
    others = [answer.key(n) for n in range(first, last) if not place.first <= n < place.last]
    return len(others) > 1 or any(not place.sense.proper or key not in table() for key in others)


def _capital(answer: Passage, index: int) -> bool:
    word = answer.words[index]
    return (
        word.text[0].isupper()
        and len(word.text) > 1
        and not word.key.startswith("i'")
        and not answer.first_in_sentence(index)
    )

"""Text as words and sentences with their places, and which of its characters are no prose."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from dpo_credit.corrupt.errors.words import load

_WORD = re.compile(r"[^\W_]+(?:['’*.](?=[^\W_])[^\W_]+)*")
# A full stop ends a sentence before a space or a capital letter ("asap.Already"), not within "12.99" or "U.S.".
# Of a run of full stops the first counts, or the second where the first is an abbreviation's: each run is read once.
_BREAK = re.compile(
    r"[!?|;\n]+|(?:(?<![A-Z.])|(?<=\bI)|(?<=[A-Z]\.))\.++(?=[\"')\]]*+(?:\s|$|[A-Z][a-z ]))| {2,}|\s[-–—]++\s|—"
)
# Names of things on the web, code and quotations' addresses: a change there is no wrong claim.
_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\]\([^)\n]*\)?|(?:https?://|www\.)\S+|(?<![\w.+-])[\w.+-]+@\w[\w.-]*"
    r"|\b\w+\.(?:com|org|net|io|co\.uk)\b\S*"
    r"|(?<!\w)/?[ru]/\w+|[@#][A-Za-z]\w*|&\w+;|\bedit\b.*",
    re.IGNORECASE | re.DOTALL,
)
_CLAIM_WORDS = 40  # on either side: text with fewer marks than that is no prose
_ASKS = frozenset(load("grammar")["asks"])
_CONJUNCTIONS = frozenset(load("grammar")["conjunctions"])
_DENIERS = frozenset(load("grammar")["deniers"])
_LEFT_OUT = frozenset(load("grammar")["subject_left_out"])
_AFTER_LEFT_OUT = frozenset(load("grammar")["after_subject_left_out"])
_SLIGHT = frozenset(load("grammar")["slight"])


class PassageWord(NamedTuple):
    """A word in [start, end) of its text; `key` is its lower case with a plain apostrophe."""

    start: int
    end: int
    text: str
    key: str


@dataclass(frozen=True)
class Passage:
    """A text, read once."""

    text: str

    @cached_property
    def words(self) -> tuple[PassageWord, ...]:
        """Every word in order, those that are no prose left out."""
        out, position = [], 0
        hidden = [match.span() for match in _NO_PROSE.finditer(self.text)]
        for match in _WORD.finditer(self.text):
            while position < len(hidden) and hidden[position][1] <= match.start():
                position += 1
            if position == len(hidden) or match.end() <= hidden[position][0]:
                out.append(PassageWord(match.start(), match.end(), match[0], match[0].lower().replace("’", "'")))
        return tuple(out)

    @cached_property
    def starts(self) -> list[int]:
        """Where every word begins."""
        return [word.start for word in self.words]

    @cached_property
    def _breaks(self) -> list[tuple[int, int]]:
        return [match.span() for match in _BREAK.finditer(self.text)]

    @cached_property
    def _ends(self) -> list[int]:
        return [end for _, end in self._breaks]

    def sentence(self, position: int) -> int:
        """Which sentence a character stands in."""
        return bisect_right(self._ends, position)

    @cached_property
    def sentences(self) -> tuple[tuple[int, int], ...]:
        """The words [first, last) of every sentence, by its number."""
        ends = [bisect_right(self.starts, end - 1) for end in self._ends]
        bounds = [0, *ends, len(self.words)]
        return tuple(pairwise(bounds))

    def is_question(self, number: int) -> bool:
        """Whether a sentence asks: it ends so, or begins so."""
        first, last = self.sentences[number]
        if number < len(self._breaks) and "?" in self.text[slice(*self._breaks[number])]:
            return True
        while first < last and self.words[first].key in ("and", "but", "so", "or", "also", "then"):
            first += 1
        if first == last:
            return False
        opens, follows = self.words[first].key, self.beside(first)
        return opens in _ASKS and not (opens in _LEFT_OUT and follows in _AFTER_LEFT_OUT)

    def first_in_sentence(self, index: int) -> bool:
        """Whether a word begins its sentence, but for marks."""
        return self.sentences[self.sentence(self.words[index].start)][0] == index

    def key(self, index: int) -> str:
        """The key of a word, "" where there is none."""
        return self.words[index].key if 0 <= index < len(self.words) else ""

    def beside(self, index: int) -> str:
        """The key of the next word where only a space parts the two, else ""."""
        if index + 1 >= len(self.words):
            return ""
        here, there = self.words[index], self.words[index + 1]
        return there.key if self.text[here.end : there.start] in (" ", "-") else ""

    def behind(self, index: int) -> str:
        """The key of the word before where only a space parts the two, else ""."""
        return self.words[index - 1].key if index > 0 and self.beside(index - 1) else ""

    def clause(self, index: int) -> tuple[int, int]:
        """The words [first, last) around one that no mark and no conjunction parts from it."""
        place = bisect_right(self._clauses, index)
        return self._clauses[place - 1], self._clauses[place] if place < len(self._clauses) else len(self.words)

    @cached_property
    def _clauses(self) -> list[int]:
        """The first word of every clause."""
        begins = {first for first, _ in self.sentences}
        parted = (n + 1 for n in range(len(self.words) - 1) if self._parted(n))
        return sorted({0, *begins, *parted})

    def _parted(self, index: int) -> bool:
        """Whether a clause ends between a word and the next."""
        between = self.text[self.words[index].end : self.words[index + 1].start]
        return any(mark in between for mark in ',:()[]"“”') or self.words[index + 1].key in _CONJUNCTIONS

    @cached_property
    def _denials(self) -> list[int]:
        return [n for n, word in enumerate(self.words) if denies(word.key)]

    def denials(self, first: int, last: int) -> int:
        """How many of the words [first, last) deny."""
        return bisect_left(self._denials, last) - bisect_left(self._denials, first)

    def claim(self, first: int, last: int) -> frozenset[str]:
        """What the clause around the words [first, last) says of them: its other words that carry a claim."""
        begin, end = self.clause(first)
        near = [*range(max(begin, first - _CLAIM_WORDS), first), *range(last, min(end, last + _CLAIM_WORDS))]
        return frozenset(_stem(self.words[n].key) for n in near if self.words[n].key not in _SLIGHT)

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def spellings(self) -> frozenset[str]:
        """Every word as it is written."""
        return frozenset(word.text for word in self.words)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word's key."""
        return frozenset(word.key for word in self.words) | frozenset(
            word.key.removesuffix("'s").removesuffix("'") for word in self.words
        )

    @cached_property
    def _contents(self) -> tuple[frozenset[str], ...]:
        return tuple(frozenset(_stem(word.key) for word in self.words[a:b]) for a, b in self.sentences)

    @cached_property
    def _having(self) -> dict[str, list[frozenset[str]]]:
        """The sentences that have a word."""
        having: dict[str, list[frozenset[str]]] = {}
        for sentence in dict.fromkeys(self._contents):
            for stem in sentence:
                having.setdefault(stem, []).append(sentence)
        return having

    def says(self, phrase: str, claim: frozenset[str]) -> bool:
        """Whether some sentence has all words of a phrase and at least a third of the claim's."""
        wanted = {_stem(word[0].lower()) for word in _WORD.finditer(phrase)}
        if not wanted <= self._having.keys():
            return False
        claim = claim - wanted
        sentences = min((self._having[stem] for stem in wanted), key=len, default=[])
        return any(wanted <= sentence and 3 * len(claim & sentence) >= len(claim) for sentence in sentences)


def denies(key: str) -> bool:
    """Whether a word denies."""
    return key in _DENIERS or key.endswith("n't")


def _stem(key: str) -> str:
    """A word without the endings that do not change what it is about."""
    key = key.removesuffix("'s").removesuffix("'")
    for ending in ("ing", "ed", "es", "s", "e"):
        if key.endswith(ending) and len(key) - len(ending) >= 3:
            return key[: -len(ending)]
    return key

"""What each word earned over a whole data set, and where it earned most and least."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dpo_credit.credit import Tokens
from dpo_credit.estimates.intervals import Floats, Mean, SparseSums, mean_of
from dpo_credit.segments import word_spans

_RUN = re.compile(r'[^\s()\[\]{}<>"“”«»„*`|~\\=/…–—]+')  # between white space, brackets, quotes, dashes and Markdown
_PUNCTUATION = "^+" + "".join(char for char in map(chr, range(0x10000)) if unicodedata.category(char)[0] == "P")
_BEFORE = _PUNCTUATION.translate({ord(sign): None for sign in "#@"})  # "#tag", "@name" and "$90" keep their sign
_AFTER = _PUNCTUATION.replace("%", "") + "$€£"  # and so does "5%"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a line of a file, the row's id, and there the answer and its token, counted from 0."""

    source: str
    line: int
    id: str
    answer: int = 0
    token: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """A word's mean reward per occurrence, and the occurrence with the most of it (the least, if it is punished)."""

    word: str
    reward: Mean
    example: Place


@dataclass(frozen=True, slots=True)
class WordFigures:
    """The most rewarded and the most punished of the `frequent` words, in at least `min_rows` rows and two prompts.

    `clearly_rewarded` and `clearly_punished` count those whose 95 % interval lies on one side of zero; if every word's
    true mean were zero, about 2.5 % of the frequent ones would be in each by chance. The lists hold the first of them,
    in order of the end of the interval that lies nearer to zero, so that a few lucky occurrences do not win.
    """

    min_rows: int
    distinct: int
    frequent: int
    clearly_rewarded: int
    clearly_punished: int
    rewarded: list[Word]
    punished: list[Word]


def bare_words(text: str, tokens: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int, str]]:
    """Each of `word_spans`: [start, end) without the punctuation around it, and the word in one case for all."""
    spans = []
    for first, last in word_spans(text, tokens):
        for run in _RUN.finditer(text, first, last):
            start, length, key = _stripped(run[0])
            if key:
                spans.append((run.start() + start, run.start() + start + length, key))
    return spans


@lru_cache(maxsize=1 << 16)
def _stripped(run: str) -> tuple[int, int, str]:
    word = run.lstrip(_BEFORE)
    start = len(run) - len(word)
    word = word.rstrip(_AFTER)
    return (start, len(word), word.casefold()) if any(map(str.isalnum, word)) else (0, 0, "")


def word_rewards(tokens: Tokens, rewards: Floats) -> tuple[list[tuple[int, int, str]], Floats, list[int]]:
    """An answer's words, what each earned (W,), and its first token.

    A token belongs to the word that its first letter or digit lies in (or, without one, its first visible character),
    so that a full stop of its own is no part of a word: the sums of `Credit.by("word")`, but for the punctuation. A
    word that lies whole in a token of an earlier word is none.
    """
    answer = tokens.answer
    anchors = np.array([_anchor(answer, start, end) for start, end in tokens.spans])
    order = np.argsort(anchors, kind="stable")  # as they are, but for tokens that show nothing
    sums = np.concatenate(([0.0], np.cumsum(rewards[order])))
    spans = bare_words(answer, tokens.spans)
    bounds = np.array([(start, end) for start, end, _ in spans], dtype=np.int64).reshape(-1, 2)
    starts, stops = np.searchsorted(anchors[order], bounds.T)
    held = starts < stops
    words = [span for span, any_token in zip(spans, held, strict=True) if any_token]
    return words, (sums[stops] - sums[starts])[held], order[starts[held]].tolist()


def _anchor(answer: str, start: int, end: int) -> int:
    visible = -1
    for n in range(start, end):
        if answer[n].isalnum():
            return n
        if visible < 0 and not answer[n].isspace():
            visible = n
    return visible


class Words:
    """What each distinct word earned; memory grows with these, not with the rows."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._shown: list[str] = []
        self._sums = SparseSums()
        self._extremes = np.zeros((2, 1024))  # the lowest and the highest reward of an occurrence
        self._places: tuple[list[Place], list[Place]] = ([], [])

    def add(self, group: int, answers: Sequence[tuple[Tokens, Floats]], place: Place) -> None:
        """The answers of one row with their tokens' rewards, and the group of its prompt."""
        indices: list[int] = []
        earned: list[Floats] = []
        tokens_of: list[tuple[int, int]] = []
        for number, (tokens, rewards) in enumerate(answers):
            spans, sums, firsts = word_rewards(tokens, rewards)
            indices += [self._known(key, tokens.answer[start:end]) for start, end, key in spans]
            earned.append(sums)
            tokens_of += [(number, first) for first in firsts]
        if not indices:
            return
        at, values = np.array(indices), np.concatenate(earned)
        distinct, inverse = np.unique(at, return_inverse=True)
        totals, counts = np.bincount(inverse, values), np.bincount(inverse)
        self._sums.add(group, totals.astype(np.float64), counts.astype(np.float64), distinct)
        self._keep_extremes(at, values, tokens_of, place)

    def _known(self, key: str, shown: str) -> int:
        index = self._index.setdefault(key, len(self._index))
        if index == len(self._shown):
            self._shown.append(shown)
            if index >= self._extremes.shape[1]:
                self._extremes = np.pad(self._extremes, ((0, 0), (0, index)))
            self._extremes[:, index] = np.inf, -np.inf
        elif shown == key:
            self._shown[index] = shown  # "The" is "the", where it ever was; "Boston" stays
        return index

    def _keep_extremes(self, at: np.ndarray, values: Floats, tokens_of: list[tuple[int, int]], place: Place) -> None:
        for side, beats in enumerate((np.less, np.greater)):
            places = self._places[side]
            for n in np.flatnonzero(beats(values, self._extremes[side, at])):
                index = int(at[n])
                if beats(values[n], self._extremes[side, index]):  # an earlier one of this row may have gone beyond
                    self._extremes[side, index] = values[n]
                    answer, token = tokens_of[n]
                    extreme = Place(place.source, place.line, place.id, answer, token)
                    places[index : index + 1] = [extreme]  # a new word's index is the list's length

    def figures(self, count: int, min_rows: int) -> WordFigures:
        """`count` words at either end, of those in `min_rows` rows or more; at least 2."""
        known = len(self._shown)
        means, halves, counts, rows = self._sums.estimates(known)
        frequent = (rows >= max(2, min_rows)) & ~np.isnan(halves)
        bounds = np.where(frequent, np.abs(means) - halves, -np.inf)
        clear, listed = [], []
        for side, sign in ((1, 1), (0, -1)):
            indices = np.flatnonzero((bounds > 0) & (sign * means > 0))
            best = indices[np.lexsort((indices, -bounds[indices]))][:count].tolist()
            clear.append(len(indices))
            listed.append(
                [
                    Word(
                        word=self._shown[n],
                        reward=mean_of(means[n], halves[n], int(counts[n]), int(rows[n])),
                        example=self._places[side][n],
                    )
                    for n in best
                ]
            )
        return WordFigures(max(2, min_rows), known, int(frequent.sum()), clear[0], clear[1], listed[0], listed[1])


def word_at(tokens: Tokens, token: int) -> tuple[int, int]:
    """[start, end) characters of the word that a token belongs to; of the token itself, if it is part of none."""
    start, end = tokens.spans[token]
    anchor = _anchor(tokens.answer, start, end)
    return next(((a, b) for a, b, _ in bare_words(tokens.answer, tokens.spans) if a <= anchor < b), (start, end))

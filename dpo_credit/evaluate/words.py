"""What each word earned over a whole data set, and where it earned most and least."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dpo_credit.credit import Tokens
from dpo_credit.evaluate.intervals import Floats, Mean, RatioSums, mean_of

_RUN = re.compile(r'[^\s()\[\]{}<>"“”«»„*`|~\\=/…–—]+')  # between white space, brackets, quotes, dashes and Markdown
_EDGE = "!'’‘&+,-.:;?^_·•،。、，：；！？¡¿#@"
_BEFORE = _EDGE.replace("#", "").replace("@", "") + "%"  # "$90", "#tag" and "@name" keep their sign, and so does "5%"


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


def word_spans(text: str) -> list[tuple[int, int, str]]:
    """Each word of a text: [start, end) without the punctuation around it, and the word in one case for all."""
    found = []
    for run in _RUN.finditer(text):
        start, length, key = _stripped(run[0])
        if key:
            found.append((run.start() + start, run.start() + start + length, key))
    return found


@lru_cache(maxsize=1 << 16)
def _stripped(run: str) -> tuple[int, int, str]:
    word = run.lstrip(_BEFORE)
    start = len(run) - len(word)
    word = word.rstrip(_EDGE + "$€£")
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
    spans = word_spans(answer)
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
        self._sums = RatioSums(1024)
        self._extremes = np.zeros((2, 1024))  # the lowest and the highest reward of an occurrence
        self._places: tuple[list[Place], list[Place]] = ([], [])

    def add(self, answers: Sequence[tuple[Tokens, Floats]], place: Place) -> None:
        """The answers of one row with their tokens' rewards."""
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
        self._sums.add(totals.astype(np.float64), counts.astype(np.float64), distinct)
        self._keep_extremes(at, values, tokens_of, place)

    def _known(self, key: str, shown: str) -> int:
        index = self._index.setdefault(key, len(self._index))
        if index == len(self._shown):
            self._shown.append(shown)
            self._sums.grow(index + 1)
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
                    found = Place(place.source, place.line, place.id, answer, token)
                    places[index : index + 1] = [found]  # a new word's index is the list's length

    def ranked(self, count: int, min_rows: int) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
        """The most rewarded and the most punished words.

        In order of the end of the 95 % interval that lies nearer to zero, so that a few lucky occurrences do not win;
        only words in `min_rows` rows or more whose whole interval lies on one side of zero.
        """
        known = len(self._shown)
        means, halves, counts, rows = (values[:known] for values in self._sums.estimates())
        bounds = np.where(rows >= max(2, min_rows), np.abs(means) - halves, -np.inf)
        picked: list[tuple[Word, ...]] = []
        for side, sign in ((1, 1), (0, -1)):
            eligible = np.flatnonzero((bounds > 0) & (sign * means > 0))
            best = eligible[np.lexsort((eligible, -bounds[eligible]))][:count]
            picked.append(
                tuple(
                    Word(
                        self._shown[n],
                        mean_of(means[n], halves[n], int(counts[n]), int(rows[n])),
                        self._places[side][n],
                    )
                    for n in map(int, best)
                )
            )
        return picked[0], picked[1]

    def counts(self, min_rows: int) -> tuple[int, int]:
        """How many distinct words there are, and how many of them in so many rows."""
        rows = self._sums.estimates()[3][: len(self._shown)]
        return len(self._shown), int((rows >= max(2, min_rows)).sum())


def word_at(tokens: Tokens, token: int) -> tuple[int, int]:
    """[start, end) characters of the word that a token belongs to; of the token itself, if it is part of none."""
    start, end = tokens.spans[token]
    anchor = _anchor(tokens.answer, start, end)
    return next(((a, b) for a, b, _ in word_spans(tokens.answer) if a <= anchor < b), (start, end))

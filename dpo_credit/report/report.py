"""A scored data set in figures, in one pass: what it holds, what was rewarded where, whether length pays, which words.

Memory grows with the number of distinct words, not with the number of rows, but for 8 bytes that tell a row's prompt.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpo_credit.credit import Credit, CreditError, margin
from dpo_credit.estimates.intervals import Floats, Prompts, RatioSums, Reservoir, share_by_prompt
from dpo_credit.report.ends import Ends, place_of
from dpo_credit.report.figures import (
    ClassFigures,
    Histogram,
    PairFigures,
    Report,
    Side,
    SideFigures,
    SourceFigures,
)
from dpo_credit.report.length import Length
from dpo_credit.report.words import Words
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.text.token_class import CLASSES, token_classes

MIN_ROWS = 5  # in which a word occurs to be listed
PARTS = 10  # of an answer, for rewards by relative position
_OCTAVES = 32  # of token positions: 1, 2, 3 to 4, 5 to 8, ...
_SAMPLE = 100_000  # margins behind the quantiles and the histogram
_BINS = 40  # of the histogram, at most


def report(
    rows: Iterable[ScoredRow],
    *,
    words: int = 20,
    min_rows: int = MIN_ROWS,
    shown: int = 10,
    aside: SetAside = STRICT,
) -> Report:
    """All figures of a scored data set.

    Args:
        rows: what was scored, one row at a time; see `read_scored`.
        words: how many of the most rewarded and of the most punished words to list.
        min_rows: in how many rows a word occurs to be listed; at least 2.
        shown: how many of the rows with the lowest and of those with the highest margin (or reward) to list.
        aside: took the rows that are none; the report lists them.

    Raises:
        CreditError: there are no rows, or two answers of a preference do not compare.
    """
    data = _DataSet(shown)
    for row in rows:
        data.add(row)
    aside.require(range(data.rows))
    return replace(data.figures(words, min_rows), set_aside=list(aside.rows))


class _Answer(NamedTuple):
    """A Credit with its rewards (T,), their sum, and its tokens' classes (T,) as indices into `CLASSES`."""

    credit: Credit
    rewards: Floats
    reward: float
    classes: NDArray[np.int64]


class _SideSums:
    """The sums behind `SideFigures`."""

    def __init__(self) -> None:
        self.answers = RatioSums(2)  # reward and tokens of an answer
        self.relative, self.absolute, self.classes = RatioSums(PARTS), RatioSums(_OCTAVES), RatioSums(len(CLASSES))

    def add(self, group: int, answers: Sequence[_Answer]) -> Floats:
        """One row's answers of this side, and the group of its prompt. Returns what each class earned in them, (C,)."""
        totals = [np.zeros(size) for size in (PARTS, _OCTAVES, len(CLASSES))]
        counts = [np.zeros(size) for size in (PARTS, _OCTAVES, len(CLASSES))]
        for answer in answers:
            shows_text = np.array([start < end for start, end in answer.credit.tokens.spans])
            relative, absolute = _places(int(shows_text.sum()))
            placed = answer.rewards[shows_text]
            for n, (bins, weights) in enumerate(
                ((relative, placed), (absolute, placed), (answer.classes, answer.rewards))
            ):
                totals[n] += np.bincount(bins, weights, len(totals[n]))
                counts[n] += np.bincount(bins, minlength=len(counts[n]))
        for n, sums in enumerate((self.relative, self.absolute, self.classes)):
            sums.add(group, totals[n], counts[n])
        reward = sum(answer.reward for answer in answers)
        tokens = float(sum(len(answer.rewards) for answer in answers))
        self.answers.add(group, np.array([reward, tokens]), np.full(2, float(len(answers))))
        return totals[2]

    def figures(self, side: Side) -> SideFigures:
        reward, tokens = self.answers.means()
        assert reward is not None and tokens is not None
        absolute = self.absolute.means()
        while absolute and absolute[-1] is None:
            absolute.pop()
        return SideFigures(side, reward, tokens, self.relative.means(), absolute)


@lru_cache(maxsize=4096)
def _places(length: int) -> tuple[np.ndarray, np.ndarray]:
    """(T,) and (T,): the part of the answer and the octave of each of its tokens."""
    positions = np.arange(length)
    return positions * PARTS // max(length, 1), np.ceil(np.log2(positions + 1)).astype(np.int64)


class _DataSet:
    """All sums, row by row."""

    def __init__(self, shown: int) -> None:
        self._files: dict[str, None] = {}
        self.rows = self._answers = self._tokens = self._right = 0
        self._sources: Counter[tuple[str, str, float, str, bool]] = Counter()
        self._sides: dict[Side, _SideSums] = {}
        self._class_tokens = np.zeros(len(CLASSES), dtype=np.int64)
        self._prompts, self._pair_prompts = Prompts(), Prompts()
        self._margins, self._sample = RatioSums(2 + len(CLASSES)), Reservoir(_SAMPLE, 1)
        self._length, self._words = Length(), Words()
        self._pairs, self._others = Ends(shown), Ends(shown)

    def add(self, row: ScoredRow) -> None:
        place = place_of(row)
        preference = row.kind == "preference"
        prompt = row.credits[0].tokens.shared_prompt
        group = self._prompts.group(prompt)
        self._files[row.row.source] = None
        self.rows += 1
        self._answers += len(row.credits)
        scored = [
            _Answer(
                credit, np.array(rewards := credit.rewards), math.fsum(rewards), np.array(token_classes(credit.tokens))
            )
            for credit in row.credits
        ]
        lengths = [(len(answer.rewards), answer.reward) for answer in scored]
        self._tokens += sum(length for length, _ in lengths)
        for answer in scored:
            self._class_tokens += np.bincount(answer.classes, minlength=len(CLASSES))
        for source in _sources(row.credits):
            self._sources[source] += 1
        if preference:
            self._pair_prompts.group(prompt)
            self._add_pair(group, scored, self._margin(row), row)
        else:
            self._side("answer").add(group, scored)
            self._others.add(sum(reward for _, reward in lengths) / len(lengths), row)
        self._length.add(group, lengths, preference)
        self._words.add(group, [(answer.credit.tokens, answer.rewards) for answer in scored], place)

    def _margin(self, row: ScoredRow) -> float:
        try:
            return margin(*row.credits)
        except CreditError as error:
            raise CreditError(f"{row.row.place}: {error}") from error

    def _add_pair(self, group: int, scored: Sequence[_Answer], value: float, row: ScoredRow) -> None:
        chosen, rejected = self._side("chosen").add(group, scored[:1]), self._side("rejected").add(group, scored[1:])
        self._margins.add(group, np.array([value, value > 0, *(chosen - rejected)]), np.ones(2 + len(CLASSES)))
        self._sample.add([value])
        self._right += value > 0
        self._pairs.add(value, row)

    def _side(self, side: Side) -> _SideSums:
        return self._sides.setdefault(side, _SideSums())

    def figures(self, words: int, min_rows: int) -> Report:
        if not self.rows:
            raise CreditError("there are no rows to report on. Give what dpo-credit score --json or batch wrote.")
        lowest, highest = (self._pairs if self._sample.seen else self._others).figures()
        return Report(
            schema="dpo-credit/report@1",
            files=list(self._files),
            rows=self.rows,
            prompts=self._prompts.count,
            answers=self._answers,
            tokens=self._tokens,
            sources=[SourceFigures(*source, rows) for source, rows in self._sources.most_common()],
            pairs=self._pair_figures() if self._sample.seen else None,
            sides=[self._sides[side].figures(side) for side in ("chosen", "rejected", "answer") if side in self._sides],
            classes=self._class_figures(),
            length=self._length.figures(self._prompts.count),
            words=self._words.figures(words, min_rows),
            lowest=lowest,
            highest=highest,
            set_aside=[],
        )

    def _pair_figures(self) -> PairFigures:
        values = self._sample.values[:, 0]
        mean, right = self._margins.means()[:2]
        assert mean is not None and right is not None
        return PairFigures(
            count=self._sample.seen,
            accuracy=share_by_prompt(self._right, right, self._pair_prompts.count),
            margin=mean,
            quantiles=np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist(),
            histogram=histogram(values),
            sampled=len(values),
        )

    def _class_figures(self) -> list[ClassFigures]:
        means = {side: sums.classes.means() for side, sums in self._sides.items()}
        margins = self._margins.means()[2:]
        return [
            ClassFigures(
                name,
                int(self._class_tokens[n]),
                {side: mean for side, of_side in means.items() if (mean := of_side[n]) is not None},
                margins[n],
            )
            for n, name in enumerate(CLASSES)
            if self._class_tokens[n]
        ]


def _sources(credits: Sequence[Credit]) -> set[tuple[str, str, float, str, bool]]:
    return {(c.source.policy, c.source.reference, c.beta, c.source.dtype, c.length_normalised) for c in credits}


def histogram(values: Floats) -> Histogram:
    """(N,) values counted between round numbers, zero among them; the outermost 0.5 % at either end may lie beyond.

    The width is Freedman and Diaconis's (1981), rounded up to 1, 2 or 5 times a power of ten, for at most 40 bins.
    """
    low, first, third, high = np.quantile(values, (0.005, 0.25, 0.75, 0.995))
    width = max(2 * (third - first) / len(values) ** (1 / 3), (high - low) / (_BINS - 2), 0.0)
    if not width:
        width = abs(high) or 1.0
    power = 10.0 ** np.floor(np.log10(width))
    width = power * next(step for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))
    start, stop = int(np.floor(low / width)), int(np.floor(high / width)) + 1
    edges = np.arange(start, stop + 1) * width
    inside = values[(values >= edges[0]) & (values <= edges[-1])]
    counts, _ = np.histogram(inside, edges)
    return Histogram(edges.tolist(), counts.tolist(), int((values < edges[0]).sum()), int((values > edges[-1]).sum()))

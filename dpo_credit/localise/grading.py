"""How well a score of the pieces of answers finds the wrong ones: units, which of them are wrong, and hits.

A score is high where something looks wrong: -reward, or a baseline's surprise, -log p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Graded:
    """One wrong answer cut into units: words, tokens or the spans of its values.

    `scores` (U,) is high where a unit looks wrong; `errors` (U,) names the error whose wrong characters the unit
    holds, -1 for a right one. A unit that holds two errors names the later; ties in the scores go to the earlier unit.
    """

    scores: np.ndarray
    errors: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """(U,) whether a unit holds an error."""
        return self.errors >= 0

    @property
    def names(self) -> list[int]:
        """The errors that units hold, in the order of the text."""
        return list(dict.fromkeys(self.errors[self.wrong].tolist()))

    @property
    def lowest_is_wrong(self) -> bool:
        """Whether the most suspicious unit is a wrong one."""
        return bool(self.errors[self.scores.argmax()] >= 0)

    @property
    def all_in_lowest_three(self) -> bool:
        """Whether each error has a unit among the three most suspicious."""
        return self.found(3) == set(self.names)

    @property
    def begins(self) -> tuple[np.ndarray, np.ndarray]:
        """(U,) each: whether a unit is the first of an error of several units, or one of its others."""
        first, later = np.zeros(len(self.errors), dtype=bool), np.zeros(len(self.errors), dtype=bool)
        for name in self.names:
            own = np.flatnonzero(self.errors == name)
            if len(own) > 1:
                first[own[0]], later[own[1:]] = True, True
        return first, later

    def found(self, count: int) -> set[int]:
        """The errors that have a unit among the `count` most suspicious."""
        return set(self.errors[np.argsort(-self.scores, kind="stable")[:count]].tolist()) - {-1}

    @property
    def auroc(self) -> float:
        """The AUROC within this answer."""
        return auroc([self])


def sum_over(units: Spans, token_spans: Spans, values: Sequence[float]) -> np.ndarray:
    """Sums of token values over units; a token belongs to the unit of its last character, or to the next one.

    A lone space before a number therefore counts to that number's word; an end token, which has no characters, to
    none.

    Args:
        units: U disjoint [start, end), in order.
        token_spans: (T,) [start, end) in the same text.
        values: (T,).

    Returns:
        (U,) sums.
    """
    sums = np.zeros(len(units))
    ends = np.array([end for _, end in units])
    for (start, end), value in zip(token_spans, values, strict=True):
        unit = int(np.searchsorted(ends, end - 1, side="right"))
        if start < end and unit < len(units):
            sums[unit] += value
    return sums


def errors_of(units: Spans, wrong: Spans) -> np.ndarray:
    """(U,) index of the error whose wrong characters [start, end) a unit holds, -1 where it holds none."""
    names = np.full(len(units), -1)
    for index, (low, high) in enumerate(wrong):
        for unit, (start, end) in enumerate(units):
            if start < high and low < end:
                names[unit] = index
    return names


def auroc(graded: Sequence[Graded], counts: np.ndarray | None = None) -> float:
    """AUROC over the pooled units, each answer counted `counts` (N,) times."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([answer.wrong for answer in graded])
    scores = np.concatenate([answer.scores for answer in graded])
    weights = None if counts is None else np.repeat(counts, [len(answer.scores) for answer in graded])
    return float(roc_auc_score(labels, scores, sample_weight=weights))

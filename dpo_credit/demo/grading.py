"""How well a score of the pieces of answers finds the wrong ones: AUROC, lowest words, and tests paired by answer.

A score is high where something looks wrong: -reward, or a baseline's surprise, -log p. AUROC and exact tests need
scikit-learn (the `train` extra).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import Edit

Spans = Sequence[tuple[int, int]]
RESAMPLES = 1000
PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Graded:
    """One wrong answer cut into units: words, tokens or the spans of its values.

    `scores` (U,) is high where a unit looks wrong; `errors` (U,) names the edit whose wrong characters the unit
    holds, -1 for a right one.
    """

    scores: np.ndarray
    errors: np.ndarray

    @property
    def lowest_is_wrong(self) -> bool:
        """Whether the most suspicious unit is a wrong one."""
        return bool(self.errors[self.scores.argmax()] >= 0)

    @property
    def all_in_lowest_three(self) -> bool:
        """Whether each error has a unit among the three most suspicious."""
        found = set(self.errors[np.argsort(-self.scores, kind="stable")[:3]]) - {-1}
        return found == set(self.errors) - {-1}

    @property
    def auroc(self) -> float:
        """The AUROC within this answer."""
        return auroc([self])


def word_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) of the whitespace-separated words."""
    return [match.span() for match in re.finditer(r"\S+", text)]


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


def errors_of(units: Spans, edits: Sequence[Edit]) -> np.ndarray:
    """(U,) index of the edit whose wrong characters a unit holds, -1 where it holds none."""
    found = np.full(len(units), -1)
    for index, edit in enumerate(edits):
        low, high = edit.wrong_characters
        for unit, (start, end) in enumerate(units):
            if start < high and low < end:
                found[unit] = index
    return found


def auroc(graded: Sequence[Graded], counts: np.ndarray | None = None) -> float:
    """AUROC over the pooled units, each answer counted `counts` (N,) times."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([one.errors >= 0 for one in graded])
    scores = np.concatenate([one.scores for one in graded])
    weights = None if counts is None else np.repeat(counts, [len(one.scores) for one in graded])
    return float(roc_auc_score(labels, scores, sample_weight=weights))


def resamples(count: int, rng: np.random.Generator, times: int = RESAMPLES) -> np.ndarray:
    """(times, count) how often each answer is drawn in each bootstrap resample."""
    return rng.multinomial(count, np.full(count, 1 / count), size=times)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrap values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def sign_flip_p(differences: np.ndarray, rng: np.random.Generator) -> float:
    """Two-sided p of a paired permutation test that the mean of (N,) per-answer differences is zero."""
    flips = rng.choice([-1.0, 1.0], size=(PERMUTATIONS, len(differences)))
    extreme = np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12
    return float((1 + extreme.sum()) / (1 + PERMUTATIONS))


def mcnemar_p(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Two-sided exact p that (N,) two yes/no results on the same answers are equally often yes (McNemar)."""
    from scipy.stats import binomtest

    better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

"""Intervals, paired tests and rankings by prompt: answers to one prompt are not independent, nor an answer's tokens.

Whole prompts are drawn, with all of their answers, and whole prompts are permuted. Where every answer has a prompt of
its own, that is the bootstrap and the tests over answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 10_000
_FLIPS = 10_000_000
BINS = 5  # of the reliability table: confidences from 0.5 to 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % bootstrap interval; all three are None where nothing defines it."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def numbered(keys: Sequence[Hashable]) -> np.ndarray:
    """(N,) the number of each key among the distinct ones, from 0 on as they first appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)


def resamples(prompts: np.ndarray, rng: np.random.Generator, times: int = RESAMPLES) -> np.ndarray:
    """How often each answer is drawn in each resample of a cluster bootstrap (Davison and Hinkley 1997, 3.8).

    Equals drawing as many prompts as there are, with replacement, and taking all answers to each.

    Args:
        prompts: (N,) the number of each answer's prompt; see `numbered`.
        rng: what draws.
        times: how many resamples.

    Returns:
        (times, N); (0, N) where all answers stand on one prompt, which cannot be resampled.
    """
    count = len(set(prompts.tolist()))
    return rng.multinomial(count, np.full(count, 1 / count), size=times if count > 1 else 0)[:, prompts]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrap values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def estimate(value: float, drawn: np.ndarray) -> Estimate:
    """A number with the interval of its bootstrap values; resamples that leave it undefined (NaN) do not count."""
    if np.isnan(value):
        return UNDEFINED
    known = drawn[~np.isnan(drawn)]
    return Estimate(float(value), *(interval(known) if len(known) else (None, None)))


def means(values: Sequence[float] | np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(R,) the mean of per-answer values (N,) in each resample (R, N); NaN marks an answer without one."""
    array = np.asarray(values, dtype=float)
    known = ~np.isnan(array)
    counts = draws @ known.astype(float)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, draws @ np.where(known, array, 0.0), np.nan) / counts


def mean(values: Sequence[float] | np.ndarray, draws: np.ndarray) -> Estimate:
    """The mean of per-answer values, where NaN marks an answer without one, with its interval."""
    array = np.asarray(values, dtype=float)
    if np.isnan(array).all():
        return UNDEFINED
    return estimate(float(np.nanmean(array)), means(array, draws))


def sign_flip_p(differences: np.ndarray, prompts: np.ndarray, rng: np.random.Generator) -> float:
    """Two-sided p of a paired permutation test that the mean of (N,) per-answer differences is zero.

    The signs of all answers to one of the (N,) prompts are flipped together.
    """
    sums = np.bincount(np.unique(prompts, return_inverse=True)[1], differences)
    extreme = 0
    rows = max(1, _FLIPS // max(1, len(sums)))  # at a time, for memory
    for start in range(0, PERMUTATIONS, rows):
        flips = rng.choice([-1.0, 1.0], size=(min(rows, PERMUTATIONS - start), len(sums)))
        extreme += int((np.abs(flips @ sums) >= abs(sums.sum()) - 1e-12).sum())
    return float((1 + extreme) / (1 + PERMUTATIONS))


def mcnemar_p(ours: np.ndarray, theirs: np.ndarray, prompts: np.ndarray) -> float:
    """Two-sided exact p that (N,) two yes/no results on the same answers are equally often yes.

    Equals the share of all 2^C ways to swap the two results on whole prompts in which their sums lie as far apart as
    they do; where each of the C prompts has one answer, that is McNemar's exact test.
    """
    from scipy.stats import binom

    gains = np.bincount(prompts, ours.astype(float) - theirs.astype(float)).astype(int)
    chances = np.ones(1)  # of a sum from -n to n, over the prompts so far
    for size, count in zip(*np.unique(np.abs(gains), return_counts=True), strict=True):
        steps = np.zeros(2 * size * count + 1)  # of prompts that each add or take `size`: a binomial's
        steps[:: 2 * size or 1] = binom.pmf(np.arange(count + 1), count, 0.5) if size else 1.0
        chances = np.convolve(chances, steps)
    sums = np.arange(len(chances)) - len(chances) // 2
    return float(min(1.0, chances[np.abs(sums) >= abs(gains.sum())].sum()))


@dataclass(frozen=True)
class Ranking:
    """Units ranked by how wrong they look, once, so that resamples by answer cost one pass each.

    Equals scikit-learn's `roc_auc_score` and `average_precision_score` with a sample weight of counts[answers].

    Args:
        scores: (U,) high where a unit looks wrong.
        wrong: (U,) bool.
        answers: (U,) index of the answer that each unit belongs to.
    """

    scores: np.ndarray
    wrong: np.ndarray
    answers: np.ndarray
    _owners: np.ndarray = field(init=False, repr=False)  # answers and wrong, the most suspicious first
    _ranked: np.ndarray = field(init=False, repr=False)
    _last: np.ndarray = field(init=False, repr=False)  # the last unit of each run of tied scores

    def __post_init__(self) -> None:
        order = np.argsort(-self.scores, kind="stable")
        ranked = self.scores[order]
        object.__setattr__(self, "_owners", self.answers[order])
        object.__setattr__(self, "_ranked", self.wrong[order])
        object.__setattr__(self, "_last", np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)))

    def areas(self, counts: np.ndarray | None = None) -> tuple[float, float]:
        """AUROC and average precision, each answer counted `counts` times; NaN without a wrong or a right unit."""
        if not len(self.scores):
            return np.nan, np.nan
        weights = np.ones(len(self.scores)) if counts is None else counts[self._owners].astype(float)
        hits = np.cumsum(weights * self._ranked)[self._last]
        misses = np.cumsum(weights * ~self._ranked)[self._last]
        if not hits[-1]:
            return np.nan, np.nan
        gained = np.diff(hits, prepend=0.0)
        kept = hits + misses > 0  # units of answers that were not drawn
        precision = float(gained[kept] @ (hits[kept] / (hits + misses)[kept]) / hits[-1])
        if not misses[-1]:
            return np.nan, precision
        # a wrong unit beats the right ones below it, and ties with half of those at its own score
        below = misses[-1] - misses + np.diff(misses, prepend=0.0) / 2
        return float(gained @ below / (hits[-1] * misses[-1])), precision

    def drawn(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(R,) AUROC and (R,) average precision in each resample (R, N)."""
        areas = np.array([self.areas(counts) for counts in draws]).reshape(-1, 2)
        return areas[:, 0], areas[:, 1]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose prediction is about as sure: how many, how sure on average, and how often right."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: np.ndarray) -> list[Bin]:
    """(N,) P(right answer preferred) by how sure the prediction is, max(p, 1 - p); p = 0.5 predicts nothing right."""
    sure, right = np.maximum(probabilities, 1 - probabilities), probabilities > 0.5
    index = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    width = 0.5 / BINS
    return [
        Bin(
            0.5 + n * width,
            0.5 + (n + 1) * width,
            int(inside.sum()),
            float(sure[inside].mean()) if inside.any() else None,
            float(right[inside].mean()) if inside.any() else None,
        )
        for n in range(BINS)
        for inside in [index == n]
    ]


def calibration_error(probabilities: np.ndarray) -> float:
    """The expected calibration error: |accuracy - confidence| in the bins of `reliability`, by their answers."""
    bins = [part for part in reliability(probabilities) if part.count]
    gaps = [part.count * abs((part.accuracy or 0.0) - (part.confidence or 0.0)) for part in bins]
    return float(sum(gaps) / len(probabilities))


def resampled(measure: Callable[[np.ndarray], float], values: np.ndarray, draws: np.ndarray) -> Estimate:
    """A measure of per-answer values that is no mean, with its interval."""
    drawn = np.array([measure(np.repeat(values, counts)) for counts in draws])
    return estimate(measure(values), drawn)

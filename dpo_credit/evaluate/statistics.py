"""Intervals and paired tests, all by answer: tokens of one answer are not independent of each other."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 10_000


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

"""Means and shares with 95 % intervals, from sums that grow by one row at a time.

Tokens of one row are no independent draws: they share a prompt, and often a subject. So a mean over tokens is treated
as what it is, a ratio of two sums over rows, and its variance is the one between rows (Cochran 1977, "Sampling
Techniques", 6.4: the linearised variance of a ratio estimator, the same as a cluster-robust one).
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
_UPPER = 0.5 + CONFIDENCE / 2
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `count` things in `rows` rows; [low, high] is its 95 % interval, unknown from a single row."""

    mean: float
    low: float | None
    high: float | None
    count: int
    rows: int


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `count`, with Wilson's 95 % interval."""

    share: float
    low: float
    high: float
    hits: int
    count: int


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation over `count` answers of `rows` rows, with the 95 % interval of Fisher's z for as many rows."""

    value: float
    low: float | None
    high: float | None
    count: int
    rows: int


class RatioSums:
    """K ratios of sums at a time: the sums that their means and the variances of these need.

    Equals keeping every row's total S_i and count N_i, and computing with them at the end: the mean R = sum S / sum N
    and its variance m / (m - 1) * sum (S_i - R N_i)^2 / (sum N)^2 over the m rows in which N_i is not zero.
    """

    def __init__(self, count: int) -> None:
        self._sums = np.zeros((6, count))

    def grow(self, count: int) -> None:
        """Hold at least so many ratios."""
        held = self._sums.shape[1]
        if held < count:
            self._sums = np.pad(self._sums, ((0, 0), (0, max(count, 2 * held) - held)))

    def add(self, totals: Floats, counts: Floats, at: Any = slice(None)) -> None:
        """One row's totals (K,) and counts (K,), or those of the ratios at these distinct indices."""
        self._sums[:, at] += (totals, counts, totals * totals, totals * counts, counts * counts, counts > 0)

    def estimates(self) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
        """(means, half-widths of the intervals, counts, rows), each (K,); NaN where there is too little to say."""
        total, count, squares, products, counts_squared, rows = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / count
            spread = np.maximum(squares - 2 * mean * products + mean**2 * counts_squared, 0.0)  # not below, by rounding
            error = np.sqrt(rows / (rows - 1) * spread) / count
            half = np.where(rows > 1, stdtrit(np.maximum(rows - 1, 1), _UPPER) * error, np.nan)
        return mean, half, count.astype(np.int64), rows.astype(np.int64)

    def means(self) -> list[Mean | None]:
        """(K,) the means; None where nothing was counted."""
        return [
            mean_of(mean, half, int(count), int(rows)) if count else None
            for mean, half, count, rows in zip(*self.estimates(), strict=True)
        ]


def mean_of(mean: float, half: float, count: int, rows: int) -> Mean:
    """A Mean from its interval's half-width; a NaN is an unknown one."""
    known = not math.isnan(half)
    return Mean(float(mean), float(mean - half) if known else None, float(mean + half) if known else None, count, rows)


def wilson(hits: int, count: int) -> Share:
    """A share with its score interval (Wilson 1927). `count` is at least 1."""
    z = float(ndtri(_UPPER))
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Share(share, max(0.0, middle - half), min(1.0, middle + half), hits, count)


def correlation(x: Floats, y: Floats, rows: int, *, ranked: bool = False) -> Correlation | None:
    """Pearson's correlation, or Spearman's with `ranked`; None where either is constant.

    The interval is Fisher's, with 1 / (n - 3) for the variance of z, or 1.06 / (n - 3) for ranks (Fieller, Hartley and
    Pearson 1957). n is the number of rows, since answers to one prompt are no independent draws.
    """
    if ranked:
        from scipy.stats import rankdata

        x, y = rankdata(x), rankdata(y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if rows <= 3 or abs(value) == 1:
        return Correlation(value, None, None, len(x), rows)
    half = float(ndtri(_UPPER)) * math.sqrt((1.06 if ranked else 1.0) / (rows - 3))
    z = math.atanh(value)
    return Correlation(value, math.tanh(z - half), math.tanh(z + half), len(x), rows)


class Reservoir:
    """A uniform sample of at most `size` of the things added, whole as long as it holds them all (Vitter 1985, "R")."""

    def __init__(self, size: int, width: int) -> None:
        self.seen = 0
        self._kept = array("d")
        self._size, self._width = size, width
        self._draw = random.Random(0)

    def add(self, values: Sequence[float]) -> None:
        """One thing: `width` numbers."""
        self.seen += 1
        place = self.seen - 1 if self.seen <= self._size else self._draw.randrange(self.seen)
        if place < self._size:
            start = place * self._width
            self._kept[start : start + self._width] = array("d", values)

    @property
    def values(self) -> Floats:
        """(N, width) what is held."""
        return np.array(self._kept, dtype=np.float64).reshape(-1, self._width)

"""Means and shares with 95 % intervals, from sums that grow by one row at a time.

Tokens of one row are no independent draws, nor are rows that share a prompt. So a mean over tokens is treated as what
it is, a ratio of two sums over prompts, and its variance is the one between prompts (Cochran 1977, "Sampling
Techniques", 6.4: the linearised variance of a ratio estimator, the same as a cluster-robust one).
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
_UPPER = 0.5 + CONFIDENCE / 2
GROUPS = 1024  # of prompts: up to so many prompts each is its own
_LEAST = 64  # groups that are told apart of a ratio, whatever they take
_COUPLES = 1 << 18  # of a ratio and a group, held at a time
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `count` things in `rows` rows; [low, high] is its 95 % interval, unknown from a single prompt."""

    mean: float
    low: float | None
    high: float | None
    count: int
    rows: int


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `count`, with Wilson's 95 % interval, unknown where all stand on one prompt."""

    share: float
    low: float | None
    high: float | None
    hits: int
    count: int


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation over `count` answers of `rows` rows, with the 95 % interval of Fisher's z for as many prompts."""

    value: float
    low: float | None
    high: float | None
    count: int
    rows: int


class Prompts:
    """The prompts of rows, as they come, each known by a hash.

    Args:
        groups: of prompts. The first so many prompts have one each; of those after them, each joins one of these whole
            (Wolter 2007, "Introduction to Variance Estimation", 2.4: random groups), so that memory is bounded.
    """

    def __init__(self, groups: int = GROUPS) -> None:
        self._size = groups
        self._groups: dict[int, int] = {}
        self._keys = array("q")

    def group(self, prompt: str | None) -> int:
        """The group of the next row's prompt, by what tells it from others; None where the row shares it with none."""
        key = -1 - len(self._keys)
        if prompt is not None:
            digest = hashlib.blake2b(prompt.encode(errors="surrogatepass"), digest_size=8).digest()
            key = int.from_bytes(digest, "big") >> 1
        self._keys.append(key)
        if len(self._groups) < self._size:
            return self._groups.setdefault(key, len(self._groups))
        return self._groups.get(key, key % self._size)

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return len(np.unique(np.frombuffer(self._keys, np.int64)))


class RatioSums:
    """K ratios of sums at a time: the sums that their means and the variances of these need.

    Equals keeping every group's total S_g and count N_g, and computing with them at the end: the mean
    R = sum S / sum N and its variance m / (m - 1) * sum (S_g - R N_g)^2 / (sum N)^2 over the m groups in which N_g is
    not zero.
    """

    def __init__(self, count: int) -> None:
        self._sums = np.zeros((2, GROUPS, count))
        self._rows = np.zeros(count, dtype=np.int64)

    def add(self, group: int, totals: Floats, counts: Floats) -> None:
        """One row's totals (K,) and counts (K,), and the group of its prompt."""
        self._sums[:, group] += (totals, counts)
        self._rows += counts > 0

    def means(self) -> list[Mean | None]:
        """(K,) the means; None where nothing was counted."""
        groups, ratios = np.nonzero(self._sums[1])
        totals, counted = self._sums[:, groups, ratios]
        means, halves, counts = _ratios(ratios, totals, counted, len(self._rows))
        return [
            mean_of(mean, half, int(count), int(rows)) if count else None
            for mean, half, count, rows in zip(means, halves, counts, self._rows, strict=True)
        ]


class SparseSums:
    """`RatioSums` of ever more ratios, each of which few of the groups have anything of.

    Holds at most `couples` of a ratio and a group: where there would be more, every two groups become one, down to 64.
    """

    def __init__(self, couples: int = _COUPLES) -> None:
        self._couples, self._groups = couples, GROUPS
        self._keys = np.zeros(0, dtype=np.int64)  # ratio * GROUPS + group
        self._sums = np.zeros((3, 0))  # totals, counts and rows
        self._new = array("d")  # a key, a total and a count each, that came since

    def add(self, group: int, totals: Floats, counts: Floats, at: Integers) -> None:
        """One row's totals (R,) and counts (R,), above zero, of the ratios at these distinct indices."""
        self._new.frombytes(np.stack((at * float(GROUPS) + group, totals, counts), axis=1).tobytes())
        if len(self._new) >= 3 * max(self._couples, len(self._keys)) // 4:
            self._settle()

    def _settle(self) -> None:
        new_keys, totals, counts = np.array(self._new).reshape(-1, 3).T
        self._new = array("d")
        keys = np.concatenate((self._keys, new_keys.astype(np.int64)))
        sums = np.concatenate((self._sums, [totals, counts, np.ones(len(counts))]), axis=1)
        while True:
            self._keys, inverse = np.unique(keys - keys % GROUPS + keys % self._groups, return_inverse=True)
            if len(self._keys) <= self._couples or self._groups <= _LEAST:
                break
            self._groups //= 2
        self._sums = np.array([np.bincount(inverse, of_each, len(self._keys)) for of_each in sums])

    def estimates(self, count: int) -> tuple[Floats, Floats, Integers, Integers]:
        """(means, half-widths of the intervals, counts, rows) of the first ratios, each (count,); NaN where unknown."""
        self._settle()
        ratios = self._keys // GROUPS
        totals, counts, rows = self._sums
        return *_ratios(ratios, totals, counts, count), np.bincount(ratios, rows, count).astype(np.int64)


def _ratios(ratios: Integers, totals: Floats, counts: Floats, size: int) -> tuple[Floats, Floats, Integers]:
    """(means, half-widths of the intervals, counts), each (size,), from what each group has of each ratio, (C,)."""
    count, groups = np.bincount(ratios, counts, size), np.bincount(ratios, minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(ratios, totals, size) / count
        spread = np.bincount(ratios, (totals - mean[ratios] * counts) ** 2, size)
        error = np.sqrt(groups / (groups - 1) * spread) / count
    half = np.where(groups > 1, stdtrit(np.maximum(groups - 1, 1), _UPPER) * error, np.nan)
    return mean, half, count.astype(np.int64)


def mean_by_prompt(values: Sequence[float], prompts: Integers) -> Mean:
    """The mean of one value a row, from the number of each one's prompt (N,); see `statistics.numbered`."""
    totals = np.bincount(prompts, np.asarray(values, dtype=np.float64)).astype(np.float64)
    counts = np.bincount(prompts).astype(np.float64)
    (mean,), (half,), _ = _ratios(np.zeros(len(totals), dtype=np.int64), totals, counts, 1)
    return mean_of(mean, half, len(values), len(values))


def mean_of(mean: float, half: float, count: int, rows: int) -> Mean:
    """A Mean from its interval's half-width; a NaN is an unknown one."""
    known = not math.isnan(half)
    return Mean(float(mean), float(mean - half) if known else None, float(mean + half) if known else None, count, rows)


def wilson(hits: int, count: int, size: float | None = None) -> Share:
    """A share with its score interval (Wilson 1927). `count` is at least 1; `size`: independent draws it is worth."""
    z, share, size = float(ndtri(_UPPER)), hits / count, count if size is None else size
    middle = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return Share(share, max(0.0, middle - half), min(1.0, middle + half), hits, count)


def share_by_prompt(hits: int, mean: Mean, prompts: int) -> Share:
    """`wilson` for as many independent draws as would have the variance between prompts (Korn and Graubard 1998).

    Args:
        hits: how many of the mean's things are hits.
        mean: their mean by prompt, a hit counted 1 and another thing 0, of which each row has at most one.
        prompts: that the rows stand on. If all are hits, or none, each counts as one draw.
    """
    if mean.low is None or mean.high is None:
        return Share(mean.mean, None, None, hits, mean.count) if prompts == 1 < mean.rows else wilson(hits, mean.count)
    size, half = float(mean.count), (mean.high - mean.low) / 2
    if hits in (0, mean.count):
        size = min(size, prompts)
    elif prompts < mean.rows and half > 0:
        share = hits / mean.count
        size = min(size, share * (1 - share) * (float(ndtri(_UPPER)) / half) ** 2)
    return wilson(hits, mean.count, size)


def correlation(x: Floats, y: Floats, rows: int, prompts: int, *, ranked: bool = False) -> Correlation | None:
    """Pearson's correlation, or Spearman's with `ranked`; None where either is constant.

    The interval is Fisher's, with 1 / (n - 3) for the variance of z, or 1.06 / (n - 3) for ranks (Fieller, Hartley and
    Pearson 1957). n is the number of prompts, since answers to one prompt are no independent draws.
    """
    if ranked:
        from scipy.stats import rankdata

        x, y = rankdata(x), rankdata(y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if prompts <= 3 or abs(value) == 1:
        return Correlation(value, None, None, len(x), rows)
    half = float(ndtri(_UPPER)) * math.sqrt((1.06 if ranked else 1.0) / (prompts - 3))
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

"""intervals: each figure against its naive formula, or against SciPy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dpo_credit.estimates.intervals import RatioSums, Reservoir, SparseSums, correlation, wilson

ROWS = [(1.5, 3), (-0.25, 1), (4.0, 2), (0.5, 7)]  # totals and counts


def sums(rows: list[tuple[float, int]]) -> RatioSums:
    held = RatioSums(1)
    for prompt, (total, count) in enumerate(rows):
        held.add(prompt, np.array([total]), np.array([float(count)]))
    return held


def test_a_mean_over_tokens_has_the_variance_between_rows() -> None:
    (mean,) = sums(ROWS).means()
    ratio = (1.5 - 0.25 + 4.0 + 0.5) / (3 + 1 + 2 + 7)
    spread = sum((total - ratio * count) ** 2 for total, count in ROWS)
    half = stats.t.ppf(0.975, 3) * math.sqrt(4 / 3 * spread) / 13
    assert (mean.mean, mean.low, mean.high) == pytest.approx((ratio, ratio - half, ratio + half), rel=1e-12)  # rounding
    assert (mean.count, mean.rows) == (13, 4)


def test_with_one_thing_a_row_it_is_students_interval() -> None:
    values = [0.3, -1.2, 2.5, 0.7, 0.0]
    (mean,) = sums([(value, 1) for value in values]).means()
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (mean.mean, mean.low, mean.high) == pytest.approx((np.mean(values), low, high), rel=1e-12)  # rounding


def test_rows_without_any_do_not_count_and_one_row_has_no_interval() -> None:
    assert sums([*ROWS, (0.0, 0)]).means() == sums(ROWS).means()
    (one,) = sums([(2.0, 4), (0.0, 0)]).means()
    assert (one.mean, one.low, one.high, one.rows) == (0.5, None, None, 1)
    assert sums([(0.0, 0)]).means() == [None]


def test_equal_rows_have_an_interval_of_no_width() -> None:
    (mean,) = sums([(0.1 * 3, 3)] * 7).means()  # rounding could make the variance negative
    assert mean.high - mean.low == pytest.approx(0, abs=1e-8)  # the root of a rounding error of 1e-17


def test_intervals_between_rows_hold_what_they_promise_and_those_between_tokens_do_not() -> None:
    draw = np.random.default_rng(1)
    trials, rows, covered, naive = 1000, 40, 0, 0
    for _ in range(trials):
        sizes = draw.integers(5, 30, rows)
        values = [draw.normal() + draw.normal(size=size) for size in sizes]  # a row's tokens share its mean
        (mean,) = sums([(value.sum(), len(value)) for value in values]).means()
        covered += mean.low <= 0 <= mean.high
        tokens = np.concatenate(values)
        naive += abs(tokens.mean()) <= 1.96 * stats.sem(tokens)
    assert (
        0.92 < covered / trials < 0.97
    )  # 0.95 give or take three times its standard error of 0.007, and small samples
    assert naive / trials < 0.6


def test_many_ratios_grow_and_are_added_to_by_index() -> None:
    held = SparseSums()
    held.add(0, np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.array([4, 0]))
    means, halves, counts, rows = held.estimates(5)
    assert means[[0, 4]].tolist() == [0.5, 1.0] and np.isnan(halves).all()
    assert (counts.tolist(), rows.tolist()) == ([4, 0, 0, 0, 1], [1, 0, 0, 0, 1])


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (7, 10), (10, 10), (850, 1000), (1, 1)])
def test_a_share_has_wilsons_interval(hits: int, count: int) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    share = wilson(hits, count)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)  # rounding
    assert share.share == hits / count


def test_correlations_are_scipys() -> None:
    draw = np.random.default_rng(2)
    x = draw.integers(1, 9, 50).astype(float)  # with ties
    y = x + draw.normal(size=50) * 3
    pearson, spearman = correlation(x, y, 50, 50), correlation(x, y, 50, 50, ranked=True)
    expected = stats.pearsonr(x, y)
    low, high = expected.confidence_interval(0.95)
    assert (pearson.value, pearson.low, pearson.high) == pytest.approx((expected.statistic, low, high), abs=1e-12)
    assert spearman.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)  # rounding
    z, half = math.atanh(spearman.value), stats.norm.ppf(0.975) * math.sqrt(1.06 / 47)
    assert (spearman.low, spearman.high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)), abs=1e-12)


def test_fewer_prompts_than_rows_widen_the_interval() -> None:
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(2, 40))
    narrow, wide = correlation(x, y, 40, 40), correlation(x, y, 40, 20)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_what_does_not_vary_has_no_correlation_and_three_prompts_no_interval() -> None:
    assert correlation(np.ones(5), np.arange(5.0), 5, 5) is None
    assert correlation(np.arange(1.0), np.arange(1.0), 1, 1) is None
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), 3, 3).low is None


def test_a_reservoir_is_whole_until_it_is_full_and_then_a_fair_sample() -> None:
    held = Reservoir(1000, 2)
    for n in range(1000):
        held.add((n, -n))
    assert held.values.tolist() == [[n, -n] for n in range(1000)]
    for n in range(1000, 10_000):
        held.add((n, -n))
    kept = held.values[:, 0]
    assert len(set(kept)) == 1000 and (held.values[:, 1] == -kept).all() and held.seen == 10_000
    # uniform on 0..9999: mean 5000, standard deviation 10000 / sqrt(12); four standard errors of 1,000 draws
    assert abs(kept.mean() - 5000) < 4 * 10_000 / math.sqrt(12) / math.sqrt(1000)

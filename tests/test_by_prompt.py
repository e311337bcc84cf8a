"""Intervals by prompt, where rows share one: against a bootstrap that draws whole prompts, and as they are said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from program import run
from scipy import stats
from scored import credit, saved, write

from dpo_credit.credit import Credit
from dpo_credit.estimates.intervals import (
    GROUPS,
    Mean,
    Prompts,
    RatioSums,
    Share,
    SparseSums,
    mean_by_prompt,
    share_by_prompt,
    wilson,
)
from dpo_credit.report.report import report
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.search.beams import Judged, JudgedAnswer, Search, chosen_tokens, figures, header, line, parse
from dpo_credit.trajectory.trajectory import Divergence, Moment, Trajectory, points, record
from dpo_credit.views.page import beams as beams_page

PROMPTS = 60


def naive(measure: Callable[[Sequence[int]], float], prompts: Sequence[int]) -> tuple[float, float]:
    """2.5 and 97.5 % of a measure of rows over 2,000 draws of as many prompts as there are, each with all its rows."""
    draw, distinct = np.random.default_rng(7), sorted(set(prompts))
    rows_of = {prompt: [n for n, its in enumerate(prompts) if its == prompt] for prompt in distinct}
    drawn = [
        measure([n for prompt in draw.choice(distinct, len(distinct)) for n in rows_of[prompt]]) for _ in range(2000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def near(estimate: Mean | Share, low: float, high: float) -> None:
    """Student's t with 59 degrees is 2 % wider than a percentile; 2,000 draws place an end within 5 % of a half."""
    slack = 0.2 * (high - low) / 2
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=slack), pytest.approx(high, abs=slack))


def shared(each: int = 5) -> tuple[list[ScoredRow], list[int]]:
    """Pairs of which those to one prompt have nearly one margin, in an order that mixes the prompts."""
    draw = np.random.default_rng(3)
    at = draw.normal(0.3, 1.0, PROMPTS)
    prompts = draw.permutation(np.repeat(np.arange(PROMPTS), each)).tolist()
    rows = []
    for number, prompt in enumerate(prompts, 1):
        margin, length = at[prompt] + 0.1 * draw.normal(), 1 + (prompt + number) % 3
        chosen = credit([" good"] * length, [margin / length] * length)
        rejected = credit([" no", " bad"], [0.0, 0.01 * draw.normal()])
        rows.append(saved([chosen, rejected], line=number, prompt=prompt))
    return rows, prompts


def test_a_report_s_intervals_are_those_of_whole_prompts_drawn() -> None:
    rows, prompts = shared()
    found = report(rows, min_rows=2)
    margins = [row.credits[0].reward - row.credits[1].reward for row in rows]
    good = [(row.credits[0].reward, len(row.credits[0].rewards)) for row in rows]
    assert (found.rows, found.prompts) == (300, PROMPTS) and found.pairs is not None
    near(found.pairs.margin, *naive(lambda at: float(np.mean([margins[n] for n in at])), prompts))
    near(found.pairs.accuracy, *naive(lambda at: float(np.mean([margins[n] > 0 for n in at])), prompts))
    word = next(word for word in found.words.rewarded if word.word == "good")
    ratio = naive(lambda at: sum(good[n][0] for n in at) / sum(good[n][1] for n in at), prompts)
    near(word.reward, *ratio)
    near(next(kind.sides["chosen"] for kind in found.classes if kind.name == "words"), *ratio)
    near(found.sides[0].reward, *naive(lambda at: float(np.mean([good[n][0] for n in at])), prompts))
    # between rows they would be less than half as wide: five rows of a prompt are one draw
    alone = report([saved(row.credits, line=row.row.line) for row in rows])
    assert alone.prompts == 300 and alone.pairs is not None
    assert width(found.pairs.margin) > 2 * width(alone.pairs.margin)
    assert width(found.pairs.accuracy) > 1.9 * width(alone.pairs.accuracy)


def width(estimate: Mean | Share) -> float:
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


def test_rows_that_are_there_twice_make_no_interval_narrower() -> None:
    once, _ = shared(each=1)
    ones, twos = report(once, min_rows=2), report([*once, *once], min_rows=2)
    assert (ones.prompts, twos.prompts, twos.rows) == (PROMPTS, PROMPTS, 2 * PROMPTS)
    pairs = [(ones.pairs.margin, twos.pairs.margin), (ones.length.longer_wins, twos.length.longer_wins)]
    pairs += [(ones.length.slope, twos.length.slope), (ones.length.excess, twos.length.excess)]
    pairs += [(ones.length.spearman, twos.length.spearman), (ones.length.pearson, twos.length.pearson)]
    pairs += [(one.reward, two.reward) for one, two in zip(ones.words.rewarded, twos.words.rewarded, strict=True)]
    pairs += [(one.margin, two.margin) for one, two in zip(ones.classes, twos.classes, strict=True)]
    for one, two in pairs:
        assert (two.low, two.high) == pytest.approx((one.low, one.high), abs=1e-9)  # rounding
        assert two.count == 2 * one.count
    # Wilson's for as many draws as have this variance: (m - 1) (z / t)^2 of the 60 prompts
    size = (PROMPTS - 1) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, PROMPTS - 1)) ** 2
    hits = ones.pairs.accuracy.hits
    expected = wilson(hits, PROMPTS, size)
    assert (twos.pairs.accuracy.low, twos.pairs.accuracy.high) == pytest.approx((expected.low, expected.high))


def test_a_share_of_all_or_none_counts_each_prompt_once() -> None:
    prompts = np.repeat(np.arange(10), 4)
    for hits in (0, 40):
        found = share_by_prompt(hits, mean_by_prompt([float(hits > 0)] * 40, prompts), 10)
        expected = stats.binomtest(hits // 4, 10).proportion_ci(0.95, method="wilson")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)  # rounding
    halves = [1.0, 0.0] * 20  # each prompt has two of each: not even so is it better known than by 40 draws
    assert share_by_prompt(20, mean_by_prompt(halves, prompts), 10) == wilson(20, 40)


def test_answers_without_a_prompt_share_none() -> None:
    def row(line: int, ids: tuple[int, ...]) -> ScoredRow:
        row = saved([credit([" a"], [1.0])], "single", line=line)
        return replace(row, credits=tuple(with_prompt(each, ids) for each in row.credits))

    assert report([row(n, (1,)) for n in range(4)]).prompts == 4  # a BOS token alone
    assert report([row(n, (1, 2)) for n in range(4)]).prompts == 1
    unknown = report([row(n, (-1, -1)) for n in range(4)])  # saved by a version that kept no hash
    assert unknown.prompts == 4


def with_prompt(its: Credit, ids: tuple[int, ...]) -> Credit:
    return replace(its, tokens=replace(its.tokens, prompt_ids=ids))


def test_more_prompts_than_have_sums_of_their_own_join_whole_groups() -> None:
    prompts = Prompts(groups=4)
    groups = {name: prompts.group(name) for name in "abcdefghij"}
    assert [groups[name] for name in "abcd"] == [0, 1, 2, 3] and set(groups.values()) <= {0, 1, 2, 3}
    assert {name: prompts.group(name) for name in "abcdefghij"} == groups and prompts.count == 10
    prompts.group(None)
    prompts.group(None)
    assert prompts.count == 12


def test_grouped_sums_promise_what_they_hold() -> None:
    """Over 5,000 prompts in 1,024 groups, or 64: the half-width is that of all prompts, within its own error."""
    draw = np.random.default_rng(5)
    dense, sparse, prompts = RatioSums(1), SparseSums(couples=100), Prompts()
    at, totals = np.repeat(draw.normal(size=5000), 2), np.zeros(5000)
    for n in draw.permutation(10_000):
        value = np.array([at[n] + 0.1 * draw.normal()])
        totals[n // 2] += value[0]
        group = prompts.group(str(n // 2))
        dense.add(group, value, np.ones(1))
        sparse.add(group, value, np.ones(1), np.array([0]))
    exact = stats.t.ppf(0.975, 4999) * stats.sem(totals) / 2  # of two rows each
    (of_all,) = dense.means()
    (mean,), (half,), (count,), (rows,) = sparse.estimates(1)
    assert of_all is not None and of_all.mean == pytest.approx(totals.sum() / 10_000) == pytest.approx(mean)
    assert (count, rows, prompts.count, GROUPS) == (10_000, 10_000, 5000, 1024)
    assert width(of_all) / 2 == pytest.approx(exact, rel=4 / math.sqrt(2 * GROUPS))  # four standard errors
    assert half == pytest.approx(exact, rel=4 / math.sqrt(2 * 64) * 1.02)


def test_sparse_sums_are_exact_as_long_as_they_hold_all() -> None:
    draw = np.random.default_rng(6)
    dense, sparse = RatioSums(5), SparseSums(couples=200)  # 5 ratios in 40 prompts, settled every 50 of them
    for _ in range(300):
        prompt, at = int(draw.integers(40)), np.sort(draw.choice(5, 3, replace=False))
        totals, counts = draw.normal(size=3), draw.integers(1, 4, 3).astype(float)
        sparse.add(prompt, totals, counts, at)
        every, of_each = np.zeros(5), np.zeros(5)
        every[at], of_each[at] = totals, counts
        dense.add(prompt, every, of_each)
    means, halves, counts, rows = sparse.estimates(5)
    for n, mean in enumerate(dense.means()):
        assert mean is not None and (mean.count, mean.rows) == (counts[n], rows[n])
        assert (mean.mean, mean.high) == pytest.approx((means[n], means[n] + halves[n]), rel=1e-9)  # rounding


def test_terminal_page_and_json_say_how_many_prompts_rows_stand_on(tmp_path: Path) -> None:
    rows, _ = shared()
    file, page, figures_file = write(tmp_path / "scored.jsonl", rows), tmp_path / "page.html", tmp_path / "report.json"
    ended = run("report", file, "--html", page, "--json", figures_file, COLUMNS="160")
    assert ended.code == 0, ended.stderr
    assert "300 rows to 60 prompts, 600 answers" in ended.stdout
    assert "with 95 % confidence, by prompt: 300 rows stand on 60 prompts\n" in ended.stdout
    assert "300 rows to 60 prompts, 600 answers" in page.read_text()
    assert "95 %, by prompt: 300 rows stand on 60 prompts" in page.read_text()
    assert json.loads(figures_file.read_text())["prompts"] == 60


def test_rows_to_one_prompt_have_no_intervals(tmp_path: Path) -> None:
    rows = [replace(row, row=replace(row.row, line=n)) for n, row in enumerate(shared()[0], 1)]
    rows = [saved(row.credits, line=row.row.line, prompt=1) for row in rows]
    found = report(rows)
    assert found.pairs is not None and (found.pairs.margin.low, found.pairs.accuracy.low) == (None, None)
    assert found.length.verdict.startswith("All pairs of different length answer one prompt")
    assert found.words.frequent == 0
    file, page = write(tmp_path / "scored.jsonl", rows), tmp_path / "page.html"
    said = run("report", file, "--html", page, COLUMNS="160").stdout
    assert "300 rows to one prompt" in said and "\nno intervals: all rows stand on one prompt\n" in said
    assert f"pair accuracy  {100 * found.pairs.accuracy.share:.1f} %: " in said and "±" not in said
    assert "no intervals: all rows stand on one prompt" in page.read_text()


def searched(prompts: Sequence[str | None]) -> Search:
    draw = np.random.default_rng(8)
    level = {prompt: draw.normal(50, 20) for prompt in dict.fromkeys(prompts)}
    rows = []
    for n, prompt in enumerate(prompts):
        tokens = int(max(1, level[prompt] + draw.normal()))
        answer = JudgedAnswer("a", tokens, -1.0, 0.5, True, win=float(level[prompt] > 45))
        rows.append(Judged(str(n), (answer,), replace(answer, win=None), prompt))
    settings = {"beams": [1], "length_penalty": 0.0, "drawn": False, "judge": "reward", "policy": "p"}
    return Search(settings, tuple(rows))


def test_a_search_s_intervals_are_those_of_whole_prompts_drawn() -> None:
    prompts = [f"p{n % PROMPTS}" for n in range(5 * PROMPTS)]
    search = searched(prompts)
    numbers = [n % PROMPTS for n in range(5 * PROMPTS)]
    (found,) = figures(search)
    for mean, values in (
        (found.tokens, [row.answers[0].tokens for row in search.rows]),
        (found.win, [row.answers[0].win for row in search.rows]),
        (chosen_tokens(search), [row.answers[0].tokens for row in search.rows]),
    ):
        near(mean, *naive(lambda at, values=values: float(np.mean([values[n] for n in at])), numbers))
    assert "Means over 300 rows to 60 prompts; 95 % intervals, by prompt: 300 rows" in beams_page.render([search], [""])
    (alone,) = figures(Search(search.settings, tuple(replace(row, prompt=None) for row in search.rows)))
    assert width(found.tokens) > 2 * width(alone.tokens)
    (one,) = figures(Search(search.settings, tuple(replace(row, prompt="p") for row in search.rows)))
    assert one.win is not None and one.win.low is None and one.tokens.low is None


def test_a_kept_search_keeps_its_prompts_and_one_of_before_has_none() -> None:
    search = searched(["a", "a", "b"])
    head = json.dumps(header(search.settings, {}))
    lines = [line(row) for row in search.rows]
    assert parse("".join([head, "\n", *lines]).encode(), "kept.jsonl").prompts == 2
    before = [json.dumps({k: v for k, v in json.loads(each).items() if k != "prompt"}) + "\n" for each in lines]
    assert parse("".join([head, "\n", *before]).encode(), "kept.jsonl").prompts == 3


def test_a_trajectory_s_intervals_are_those_of_whole_prompts_drawn() -> None:
    rows, prompts = shared()
    pairs = tuple((row.credits[0], row.credits[1]) for row in rows)
    trajectory = partial(Trajectory, "t", tuple(row.id for row in rows))
    followed = trajectory((Moment(5, "p", pairs, Divergence(2.0, 0.5, 64, prompts=10)),))
    (point,) = points(followed)
    margins = [chosen.reward - rejected.reward for chosen, rejected in pairs]
    near(point.margin, *naive(lambda at: float(np.mean([margins[n] for n in at])), prompts))
    near(point.accuracy, *naive(lambda at: float(np.mean([margins[n] > 0 for n in at])), prompts))
    assert record(followed)["prompts"] == PROMPTS
    assert point.expected is not None  # beta 1 times the error, with the degrees of 10 prompts
    assert point.expected.high == pytest.approx(-2.0 + 0.5 * stats.t.ppf(0.975, 9))
    (old,) = points(trajectory((Moment(5, "p", pairs, Divergence(2.0, 0.5, 64)),)))
    assert old.expected is not None and old.expected.high == pytest.approx(-2.0 + 0.5 * stats.t.ppf(0.975, 63))

"""statistics: the bootstrap and the paired tests by prompt, against naive implementations that loop over prompts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from dpo_credit.estimates.statistics import (
    Estimate,
    Ranking,
    estimate,
    mcnemar_p,
    mean,
    means,
    numbered,
    resamples,
    sign_flip_p,
)

PROMPTS = np.array([0, 0, 1, 2, 2, 2, 3, 1, 4, 0])
VALUES = np.array([0.5, -1.0, 2.0, 0.25, 3.0, np.nan, -0.5, 1.0, 4.0, 0.0])


def drawn_prompts(count: int, seed: int, times: int) -> list[list[int]]:
    """The prompts of each resample, one by one, as the same generator draws them."""
    counts = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=times)
    return [[prompt for prompt, often in enumerate(row) for _ in range(often)] for row in counts]


def test_keys_are_numbered_as_they_appear() -> None:
    assert numbered(["b", "a", "b", 0, "c", 0]).tolist() == [0, 1, 0, 2, 3, 2]


def test_a_resample_holds_all_answers_to_the_prompts_that_it_drew() -> None:
    draws = resamples(PROMPTS, np.random.default_rng(3), times=20)
    for counts, prompts in zip(draws, drawn_prompts(5, 3, 20), strict=True):
        answers = [n for prompt in prompts for n in range(len(PROMPTS)) if PROMPTS[n] == prompt]
        assert counts.tolist() == [answers.count(n) for n in range(len(PROMPTS))]


def test_means_and_areas_of_a_resample_are_those_of_its_answers_written_out() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(len(PROMPTS)), 6)
    scores, wrong = rng.random(len(owner)), rng.random(len(owner)) < 0.4
    draws = resamples(PROMPTS, np.random.default_rng(3), times=20)
    found, areas = means(VALUES, draws), Ranking(scores, wrong, owner).drawn(draws)[0]
    for n, prompts in enumerate(drawn_prompts(5, 3, 20)):
        answers = [answer for prompt in prompts for answer in np.flatnonzero(prompt == PROMPTS)]
        units = np.concatenate([np.flatnonzero(owner == answer) for answer in answers])
        assert found[n] == pytest.approx(np.nanmean(VALUES[answers]), abs=1e-12)  # float64 sums
        assert areas[n] == pytest.approx(roc_auc_score(wrong[units], scores[units]), abs=1e-12)


def test_with_a_prompt_for_each_answer_it_is_the_bootstrap_over_answers() -> None:
    draws = resamples(np.arange(7), np.random.default_rng(5), times=9)
    assert (draws == np.random.default_rng(5).multinomial(7, [1 / 7] * 7, size=9)).all()


def test_one_prompt_cannot_be_resampled_so_its_numbers_have_no_interval() -> None:
    draws = resamples(np.zeros(4, dtype=int), np.random.default_rng(0))
    assert draws.shape == (0, 4)
    assert mean([1.0, 2.0, 3.0, 4.0], draws) == Estimate(2.5, None, None)
    ranking = Ranking(np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 1]))
    assert estimate(ranking.areas()[0], ranking.drawn(draws)[0]) == Estimate(1.0, None, None)


def test_intervals_by_prompt_hold_what_they_promise_and_those_by_answer_do_not() -> None:
    rng = np.random.default_rng(1)
    prompts, trials, by_prompt, by_answer = np.repeat(np.arange(40), 6), 400, 0, 0
    for _ in range(trials):
        values = rng.normal(size=40)[prompts] + rng.normal(size=240)  # answers to a prompt share its ease
        for owners in (prompts, np.arange(240)):
            found = mean(values, resamples(owners, rng, times=200))
            assert found.low is not None and found.high is not None
            held = found.low <= 0 <= found.high
            by_prompt += held * (owners is prompts)
            by_answer += held * (owners is not prompts)
    # 0.95 give or take three times its standard error of 0.011, less a bit for 40 prompts and 200 resamples
    assert 0.89 < by_prompt / trials < 0.985
    assert by_answer / trials < 0.8


def naive_sign_flip(differences: np.ndarray, prompts: np.ndarray) -> float:
    """The share of all ways to flip whole prompts whose sum lies as far from zero as the one that was seen."""
    keys = sorted(set(prompts.tolist()))
    sums = []
    for signs in product((1, -1), repeat=len(keys)):
        sign_of = dict(zip(keys, signs, strict=True))
        sums.append(sum(sign_of[prompt] * value for prompt, value in zip(prompts.tolist(), differences, strict=True)))
    return float(np.mean([abs(total) >= abs(differences.sum()) - 1e-12 for total in sums]))


@pytest.mark.parametrize("prompts", [np.arange(9), np.array([0, 0, 1, 2, 2, 4, 4, 5, 7])])
def test_signs_are_flipped_by_prompt(prompts: np.ndarray) -> None:
    differences = np.array([0.4, 0.3, 0.5, 0.2, -0.1, 0.3, -0.2, 0.6, 0.1])
    exact = naive_sign_flip(differences, prompts)
    # 10,000 draws: three standard errors of a share near a half are 0.015
    assert sign_flip_p(differences, prompts, np.random.default_rng(0)) == pytest.approx(exact, abs=0.015)


def test_six_equal_answers_to_one_prompt_prove_nothing() -> None:
    rng = np.random.default_rng(0)
    assert sign_flip_p(np.ones(6), np.zeros(6, dtype=int), rng) == 1.0
    # all 6 of one sign: 2 of the 64 ways
    assert sign_flip_p(np.ones(6), np.arange(6), rng) == pytest.approx(2 / 64, abs=0.006)
    ours, theirs = np.ones(6, dtype=bool), np.zeros(6, dtype=bool)
    assert mcnemar_p(ours, theirs, np.zeros(6, dtype=int)) == 1.0
    assert mcnemar_p(ours, theirs, np.arange(6)) == pytest.approx(2 / 64, rel=1e-12)  # float64 sums


@pytest.mark.parametrize("seed", range(5))
def test_results_are_swapped_by_prompt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.random(18) < 0.8, rng.random(18) < 0.4
    prompts = rng.integers(0, 9, 18)
    exact = naive_sign_flip(ours.astype(float) - theirs, prompts)
    assert mcnemar_p(ours, theirs, prompts) == pytest.approx(exact, rel=1e-9)  # float64 sums of binomials


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 1), (30, 12), (300, 2)])
def test_with_a_prompt_for_each_answer_it_is_mcnemars_exact_test(better: int, worse: int) -> None:
    ours = np.array([True] * better + [False] * worse + [True, False])
    theirs = np.array([False] * better + [True] * worse + [True, False])
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar_p(ours, theirs, np.arange(len(ours))) == pytest.approx(expected, rel=1e-9)  # sums of tiny chances

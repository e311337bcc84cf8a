"""Words and pixels under one reward (Eq. 17), from arithmetic that is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from credits import credit

from dpo_credit.credit import CreditError
from dpo_credit.image.credit import PictureCredit
from dpo_credit.refine.credit import RefinedCredit, RefinedDiff


def picture(gains: list, gamma: float = 4.0) -> PictureCredit:
    """(S, N) gains of the policy over the reference in a single cell of two channels: a reward is gamma / 4 of one."""
    reference = np.array(gains, float)[:, :, None, None]
    steps = tuple(range(1, len(gains) + 1))
    return PictureCredit("a circle", np.zeros_like(reference), reference, steps, 2, gamma, 1, 1)


def refined(rewards: list[float], *frames: PictureCredit) -> RefinedCredit:
    return RefinedCredit(credit(["a ", "circle"], rewards), frames)


def test_a_reward_is_the_words_of_the_prompt_and_the_pixels_of_all_frames() -> None:
    answer = refined([0.5, 0.25], picture([[1, 3]]), picture([[6, 6]]))
    assert answer.words.reward == 0.75
    assert answer.profile.tolist() == [2.0, 6.0]  # means over two draws, gamma / 4 = 1
    assert (answer.pixels, answer.reward) == (8.0, 8.75)


def test_a_margin_is_what_words_add_and_what_pixels_add() -> None:
    chosen = refined([0.5, 0.1], picture([[3, 3]]), picture([[1, 1]]))
    rejected = refined([0.1, 0.3], picture([[1, 1]]), picture([[2, 2]]))
    diff = RefinedDiff(chosen, rejected)
    assert diff.words == chosen.words.reward - rejected.words.reward
    assert diff.profile.tolist() == [2.0, -1.0] and diff.pixels == 1.0
    assert diff.margin == diff.words + diff.pixels
    assert diff.margin == pytest.approx(chosen.reward - rejected.reward, abs=1e-15)  # sums in another order
    assert diff.preference_probability == 1 / (1 + math.exp(-diff.margin))


def test_beta_weighs_the_words_alone_and_gamma_the_pixels_alone() -> None:
    diff = RefinedDiff(refined([0.5, 0.1], picture([[3, 3]])), refined([0.1, 0.3], picture([[1, 1]])))

    def weighed(answer: RefinedCredit, beta: float, gamma: float) -> RefinedCredit:
        frames = tuple(replace(frame, beta=gamma) for frame in answer.frames)
        return RefinedCredit(replace(answer.words, beta=beta), frames)

    # both were 1 and 4 in the answers as they are made
    other = RefinedDiff(weighed(diff.chosen, 3.0, 4.0), weighed(diff.rejected, 3.0, 4.0))
    assert other.words == pytest.approx(3 * diff.words) and other.pixels == diff.pixels
    other = RefinedDiff(weighed(diff.chosen, 1.0, 12.0), weighed(diff.rejected, 1.0, 12.0))
    assert other.words == diff.words and other.pixels == pytest.approx(3 * diff.pixels)


def test_the_error_of_pixels_is_that_of_draws_which_all_frames_share() -> None:
    chosen = refined([0, 0], picture([[3, 1], [0, 0]]), picture([[0, 2], [0, 0]]))
    rejected = refined([0, 0], picture([[0, 0], [0, 0]]), picture([[0, 0], [1, 1]]))
    # step 1: draws (3 + 0, 1 + 2) = (3, 3); step 2: (-1, -1): no draw differs from the others
    assert RefinedDiff(chosen, rejected).pixels_error == 0.0
    chosen = refined([0, 0], picture([[3, 1], [0, 0]]), picture([[2, 0], [0, 0]]))
    # step 1: draws (5, 1), whose standard error is sqrt(8) / sqrt(2) = 2; step 2: none; of their mean, 2 / 2
    assert RefinedDiff(chosen, rejected).pixels_error == pytest.approx(1.0)


def test_one_draw_says_nothing_about_its_error() -> None:
    answer = refined([0, 0], picture([[1]]))
    assert math.isnan(RefinedDiff(answer, answer).pixels_error)


def test_frames_of_different_number_do_not_compare() -> None:
    frame = picture([[1]])
    with pytest.raises(CreditError, match=r"^chosen has 2 pictures and rejected 1: .* Give both answers as many\.$"):
        RefinedDiff(refined([0, 0], frame, frame), refined([0, 0], frame))
    with pytest.raises(CreditError, match="chosen has 0 pictures"):
        RefinedDiff(refined([0, 0]), refined([0, 0]))


def test_words_of_different_betas_do_not_compare() -> None:
    chosen, rejected = refined([0, 0], picture([[1]])), refined([0, 0], picture([[1]]))
    other = RefinedCredit(replace(rejected.words, beta=2.0), rejected.frames)
    with pytest.raises(CreditError, match="different models or betas"):
        RefinedDiff(chosen, other)

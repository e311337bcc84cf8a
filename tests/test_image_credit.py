"""The sums of a picture's credit, from arithmetic that is shown."""

import math

import numpy as np
import pytest

from dpo_credit.image import PictureCredit, PictureDiff


def credit(policy: list, reference: list, beta: float = 12.0) -> PictureCredit:
    """(S, N, 1, 2): two cells of three channels, so that a reward is beta / 12 times the gain in squared error."""
    return PictureCredit("a red circle", np.array(policy, float), np.array(reference, float), (10, 500), 3, beta, 2, 1)


def test_a_cells_reward_is_what_the_policy_predicts_better() -> None:
    picture = credit([[[[1, 5]], [[3, 5]]], [[[0, 1]], [[0, 1]]]], [[[[4, 5]], [[4, 5]]], [[[0, 3]], [[0, 3]]]])
    # gains: step 10: (3, 0) and (1, 0); step 500: (0, 2) twice
    assert picture.map.tolist() == [[(3 + 1 + 0 + 0) / 4, (0 + 0 + 2 + 2) / 4]]
    assert picture.maps.tolist() == [[[2.0, 0.0]], [[0.0, 2.0]]]
    assert picture.profile.tolist() == [2.0, 2.0]
    assert picture.reward == 2.0
    assert picture.profile_error.tolist() == [1.0, 0.0]  # draws 3 and 1: sd sqrt 2 over sqrt 2
    assert picture.reward_error == pytest.approx(math.sqrt((1.0 + 0.0) / 2 / 2))


def test_a_margin_is_the_difference_and_its_error_that_of_shared_draws() -> None:
    zero = [[[[0, 0]], [[0, 0]]], [[[0, 0]], [[0, 0]]]]
    chosen = credit(zero, [[[[3, 0]], [[1, 0]]], [[[0, 0]], [[0, 0]]]])
    rejected = credit(zero, [[[[2, 0]], [[0, 0]]], [[[1, 0]], [[1, 0]]]])
    pair = PictureDiff(chosen, rejected)
    assert pair.margin == 1.0 - 1.0
    assert pair.margin_error == 0.0  # at each step both draws differ by the same
    assert pair.preference_probability == 0.5


def test_one_draw_says_nothing_about_its_error() -> None:
    assert math.isnan(credit([[[[0, 0]]], [[[0, 0]]]], [[[[1, 0]]], [[[1, 0]]]]).reward_error)

"""length: whether the longer answer gains, told from the constants of the prompts and from the labels."""

from __future__ import annotations

import random

import pytest

from dpo_credit.report.length import Length, LengthFigures


def figures(rows: list[list[tuple[int, float]]], preference: bool = True) -> LengthFigures:
    length = Length()
    for number, row in enumerate(rows):
        length.add(number, row, preference)
    return length.figures(len(rows))


def rows(
    slope: float, count: int = 60, longer_chosen: float = 0.5, noise: float = 0.3
) -> list[list[tuple[int, float]]]:
    """Pairs whose rewards rise with length by this much a token, over a constant of the prompt of some tens."""
    draw = random.Random(0)
    made = []
    for _ in range(count):
        constant, length = draw.gauss(0, 30), draw.randrange(10, 50)
        further = draw.randrange(1, 20)
        answers = [(length + more, constant + slope * (length + more) + draw.gauss(0, noise)) for more in (further, 0)]
        made.append(answers if draw.random() < longer_chosen else answers[::-1])
    return made


def test_the_slope_is_that_within_each_prompt() -> None:
    # within the first row: (2, 5) and (4, 9), 2 a token; within the second: (1, 100) and (4, 103), 1 a token
    found = figures([[(2, 5.0), (4, 9.0)], [(1, 100.0), (4, 103.0)]])
    # deviations from the rows' means: lengths -1, 1, -1.5, 1.5 and rewards -2, 2, -1.5, 1.5
    assert found.slope.mean == (2 * 1 * 2 + 2 * 1.5 * 1.5) / (2 * 1**2 + 2 * 1.5**2)
    assert found.slope.rows == 2


def test_a_constant_of_the_prompt_changes_nothing_within_it() -> None:
    plain = [[(2, 0.5), (4, 1.0)], [(3, 0.25), (4, 0.75)], [(7, 2.0), (4, 1.0)]]
    moved = [[(tokens, reward + 64.0 * n) for tokens, reward in row] for n, row in enumerate(plain)]
    one, other = figures(plain), figures(moved)
    assert (one.slope, one.longer_wins, one.verdict) == (other.slope, other.longer_wins, other.verdict)
    assert one.pearson.value != other.pearson.value


def test_shares_are_over_pairs_of_different_length() -> None:
    found = figures([[(5, 1.0), (3, 0.0)], [(5, 0.0), (3, 1.0)], [(3, 1.0), (5, 1.0)], [(4, 9.0), (4, 0.0)]])
    assert found.longer_wins.mean == (1 + 0 + 0.5) / 3
    assert found.longer_chosen.mean == 2 / 3
    assert found.excess.mean == pytest.approx((1.5 - 2) / 3, rel=1e-12)  # rounding
    assert found.longer_wins.count == 3


def test_every_two_answers_of_a_list_are_a_pair_and_none_is_chosen() -> None:
    found = figures([[(1, 0.0), (2, 2.0), (3, 1.0)]], preference=False)
    assert (found.longer_wins.mean, found.longer_wins.count) == (2 / 3, 3)
    assert found.longer_chosen is found.excess is None


@pytest.mark.parametrize(
    ("slope", "longer_chosen", "verdict"),
    [
        (1.0, 0.5, r"Length pays: .* 100 % \(95 % interval 100 to 100\) of 60 pairs .* more often than by the labels"),
        (-1.0, 0.5, r"Length costs: .* only in 0 % .* less often than by the labels .* adds −1\."),
        (0.0, 0.5, r"Length does not pay: .* may be chance, no more and no less often than by the labels"),
        (
            1.0,
            1.0,
            r"Length pays: .* no more and no less often than by the labels \(the longer one is chosen in 100 %\)",
        ),
    ],
)
def test_one_sentence_says_whether_length_pays(slope: float, longer_chosen: float, verdict: str) -> None:
    import re

    assert re.match(verdict, figures(rows(slope, longer_chosen=longer_chosen)).verdict), figures(rows(slope)).verdict


def test_too_little_says_so() -> None:
    assert figures([[(1, 0.0)]] * 20).verdict.startswith("No prompt has two answers of different length")
    assert figures([[(2, 0.0), (2, 1.0)]] * 20).verdict.startswith("No prompt has two answers of different length")
    assert figures(rows(1.0, count=9)).verdict.startswith("Only 9 pairs of answers differ in length")

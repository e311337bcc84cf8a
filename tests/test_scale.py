"""One colour scale: diverging around zero, robust to one outlier, readable at every position."""

from __future__ import annotations

import math

import credits
import pytest
from scored import scored_row

from dpo_credit.credit import Credit, CreditError
from dpo_credit.views.scale import PALETTES, Palette, Scale, Shading, Theme, contrast, shade

THEMES: tuple[Theme, ...] = ("dark", "light")
POSITIONS = [step / 50 for step in range(-50, 51)]


def rewarded(*rewards: float, noise: float = 0.0) -> Credit:
    """An answer of one character a token with these rewards."""
    return credits.credit("x" * len(rewards), rewards, source=credits.noisy(noise))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("palette", PALETTES)
def test_text_is_readable_at_every_position(palette: Palette, theme: Theme) -> None:
    for position in POSITIONS:
        background, text = shade(position, theme, palette)
        assert contrast(background, text) >= 4.5, position  # WCAG AA


def test_contrast_is_wcags() -> None:
    """By hand: (1.05 / 0.05) for black on white; sRGB 119 has luminance 0.1845, so (1.05 / 0.2345) = 4.48."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == contrast((255, 255, 255), (119, 119, 119))
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)  # the luminance's rounding
    assert contrast((9, 9, 9), (9, 9, 9)) == 1


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_part_at_zero_and_grow_apart(palette: Palette, theme: Theme) -> None:
    """Each channel moves one way from end to end of either half; no two of nine positions share a background."""
    assert shade(0.0, theme, palette) == shade(-0.0, theme, palette)
    for side in (1, -1):
        backgrounds = [shade(side * step / 50, theme, palette)[0] for step in range(51)]
        for channel in zip(*backgrounds, strict=True):
            assert list(channel) in (sorted(channel), sorted(channel, reverse=True))
    assert len({shade(step / 4, theme, palette)[0] for step in range(-4, 5)}) == 9


def test_the_paper_palette_is_darker_the_higher_the_reward() -> None:
    for theme in THEMES:
        against_white = [contrast(shade(step / 4, theme, "paper")[0], (255, 255, 255)) for step in range(-4, 5)]
        assert against_white == sorted(against_white)


@pytest.mark.parametrize(
    ("rewards", "limit"),
    [
        ((-3.0, 2.0, 0.125), 2.0),  # the second largest magnitude
        ((0.125, 2.0, -3.0), 2.0),  # in any order
        ((3.0, 3.0, 1.0), 3.0),
        ((-8.0, 1.0, 0.5), 2.0),  # but no less than a quarter of the largest: 8 / 4
        ((64.0, -0.125, 0.125), 16.0),
        ((-0.5,), 0.5),  # the only one
        ((0.0, 0.0), 0.0),  # identical models
    ],
)
def test_one_outlier_does_not_set_the_scale(rewards: tuple[float, ...], limit: float) -> None:
    (scale,) = Shading().scales([rewarded(*rewards)])
    assert scale.limit == limit
    assert all(-1 <= scale.position(reward) <= 1 for reward in rewards)


def test_an_outlier_leaves_the_colour_of_the_rest() -> None:
    """Eight times as far out, it takes nothing from the others; 64 times, and they fade by a quarter of that."""
    near, far, farther = (Shading().scales([rewarded(1.0, -1.0, outlier)])[0] for outlier in (1.0, 4.0, 64.0))
    assert near.position(-1.0) == far.position(-1.0) == -1.0
    assert farther.position(-1.0) == -1 / 16
    assert farther.position(64.0) == far.position(64.0) == 1.0


def test_answers_compared_share_one_scale_unless_asked_otherwise() -> None:
    credits = [rewarded(1.0, 0.5), rewarded(-4.0, 2.0, noise=0.25)]
    assert {scale.limit for scale in Shading().scales(credits)} == {2.0}
    assert [scale.limit for scale in Shading(limit="per-answer").scales(credits)] == [0.5, 2.0]
    assert {scale.limit for scale in Shading(limit=0.75).scales(credits)} == {0.75}
    assert {scale.noise for scale in Shading().scales(credits)} == {0.25}  # the largest of the answers'


def test_positions_are_linear_up_to_the_ends() -> None:
    scale = Scale(limit=2.0)
    assert [scale.position(reward) for reward in (-9.0, -2.0, -1.0, 0.0, 0.5, 2.0, 9.0)] == [
        -1,
        -1,
        -0.5,
        0,
        0.25,
        1,
        1,
    ]
    assert Scale(limit=0.0).position(0.0) == 0.0


def test_rewards_within_the_noise_have_no_colour() -> None:
    scale = Scale(limit=1.0, noise=0.25)
    assert [scale.position(reward) for reward in (-0.2, 0.2, 0.0)] == [0, 0, 0]
    assert [scale.position(reward) for reward in (-0.25, 0.3)] == [-0.25, 0.3]
    assert scale.shade(0.2, "dark") == scale.shade(0.0, "dark") == shade(0.0, "dark")


def test_strength_has_four_steps_that_do_not_depend_on_sign() -> None:
    """Slight from 12 % of the limit, clear from 40 %, strong from 75 %."""
    scale = Scale(limit=10.0)
    rewards = (0.0, 1.1, 1.2, 3.9, 4.0, 7.4, 7.5, 99.0)
    assert [scale.strength(reward) for reward in rewards] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [scale.strength(-reward) for reward in rewards] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("limit", "decimals"), [(0.0123, 4), (0.5, 3), (1.0, 2), (99.0, 2), (1e-12, 9), (0.0, 2)])
def test_decimals_show_three_digits_of_the_limit(limit: float, decimals: int) -> None:
    """0.0123 needs four decimals for its three digits; two at least, nine at most."""
    assert Scale(limit).decimals == decimals


def test_deltas_have_a_scale_of_their_own_with_the_noise_of_a_difference() -> None:
    ours, theirs = rewarded(1.0, 0.5, noise=0.25), rewarded(0.5, 0.5, noise=0.125)
    (scale, other) = Shading(quantity="delta").scales_of(scored_row((ours, theirs), ("chosen", "rejected")))
    # "xx" is one word that both have: 1 - 0.5 and 0.5 - 0.5, twice each
    assert (scale.limit, scale.quantity) == (0.5, "delta")
    assert scale.noise == 0.25 * math.sqrt(2)  # two independent errors of the larger size
    assert scale == other


def test_a_row_without_two_answers_has_no_deltas() -> None:
    with pytest.raises(CreditError, match="x has 1 answers; a diff needs two"):
        Shading(quantity="delta").scales_of(scored_row([rewarded(1.0)]))


def test_each_answers_deltas_have_a_scale_if_that_is_asked_for() -> None:
    both = scored_row((credits.credit(["a"], [1.0]), credits.credit(["b"], [3.0])), ("chosen", "rejected"))
    scales = Shading(limit="per-answer", quantity="delta").scales_of(both)
    assert [scale.limit for scale in scales] == [1.0, 3.0]
    assert [scale.limit for scale in Shading(limit=0.75, quantity="delta").scales_of(both)] == [0.75, 0.75]

"""A picture's credit in the terminal: half blocks, signs where there are no such colours, and its numbers."""

from __future__ import annotations

import drawings
import numpy as np
import pytest
from drawings import SIDE, credit, exact, pair, pictures, printed
from rich.console import Console
from rich.segment import Segment

from dpo_credit.image import PictureCredit, PictureDiff
from dpo_credit.views import image
from dpo_credit.views.image import Pictures
from dpo_credit.views.look import Look
from dpo_credit.views.scale import Theme
from dpo_credit.views.terminal.image import show


def half_blocks(scored: PictureCredit | PictureDiff, shown: Pictures, look: Look) -> list[list[tuple]]:
    """The lines of half blocks: each character's upper and lower colour."""
    console = Console(width=look.width, color_system="truecolor", force_terminal=True)
    lines = Segment.split_lines(console.render(show(scored, shown, look)))
    found = []
    for line in lines:
        cells = [
            (tuple(segment.style.color.triplet), tuple(segment.style.bgcolor.triplet))
            for segment in line
            for char in segment.text
            if char == "▀"
        ]
        found += [cells] if cells else []
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_terminal_draws_picture_and_map_pixel_by_pixel(theme: Theme) -> None:
    scored = credit(-0.012)
    blocks = half_blocks(scored, drawings.drawing(), Look(theme=theme, width=80))
    assert len(blocks) == SIDE // 2 and {len(line) for line in blocks} == {2 * SIDE}
    pixels = np.array(blocks).transpose(0, 2, 1, 3).reshape(SIDE, 2 * SIDE, 3)
    assert (pixels[:, :SIDE] == drawings.drawing()).all()
    assert (pixels[:, SIDE:] == image.coloured(scored.map, image.scale_of([scored.map]), theme)).all()


@pytest.mark.parametrize(
    ("width", "lines", "blocks"),
    [
        (80, 2 * SIDE // 2, 2 * SIDE),
        (135, 2 * SIDE, 4 * SIDE),  # below each other, each pixel drawn as four
        (136, SIDE // 2, 4 * SIDE),  # two gaps of 2 and one of 4
        (160, SIDE // 2, 4 * SIDE),
    ],
)
def test_a_pair_is_side_by_side_where_four_blocks_fit(width: int, lines: int, blocks: int) -> None:
    assert [len(line) for line in half_blocks(pair(), pictures(), Look(width=width))] == [blocks] * lines


@pytest.mark.parametrize(("side", "width"), [(64, 80), (4, 80), (512, 80), (32, 30), (32, 200), (48, 160)])
def test_no_line_is_wider_than_the_terminal(side: int, width: int) -> None:
    scored = exact(np.zeros((2, 2, side, side)))
    for look in (Look(width=width), Look(width=width, colours="none")):
        assert max(map(len, printed(scored, drawings.drawing(), look).split("\n"))) <= width


def test_a_larger_map_is_summed_over_blocks() -> None:
    rewards = np.zeros((1, 1, 64, 64))
    rewards[..., 10:12, 20:22] = 0.25
    scored = exact(rewards, size=512, latent=True)
    look = Look(width=80)
    text = " ".join(printed(scored, drawings.drawing(side=512), look).split())
    # 64 cells in 39 columns: blocks of 2 x 2, one of which holds all, 4 * .25; the scale ends at a quarter of it
    assert "−0.25 +0.25 reward of a block of 2 × 2 latent cells, drawn over its 16 × 16 pixels" in text
    pixels = np.array(half_blocks(scored, drawings.drawing(side=512), look))[:, 32:]
    assert (pixels.reshape(-1, 3) == image.ends("orange-blue", "dark")[1]).all(axis=1).sum() == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_without_colours_signs_and_places_tell_where_the_reward_is(encoding: str) -> None:
    look = Look(width=80, colours="none", encoding=encoding)
    scored = credit(-0.012)
    text = printed(scored, drawings.drawing(), look)
    assert encoding == "utf-8" or text.isascii()
    low, blank = look.plain("▼"), look.plain("·")
    signs = [list(line) for line in text.split("\n") if len(line) == SIDE and set(line) <= {low, blank}]
    # 16 rows of 32 signs: rows 12 to 21 of the punished square are the signs' rows 6 to 10
    assert [[sign == low for sign in line] for line in signs] == [
        [6 <= row < 11 and 18 <= column < 28 for column in range(SIDE)] for row in range(SIDE // 2)
    ]
    sums = image.pooled(scored.map, 2, 1)
    row, column = np.unravel_index(sums.argmin(), sums.shape)
    assert f"{sums.min():+.4f} {column} {2 * row} to {2 * row + 1}".replace("-", look.plain("−")) in " ".join(
        text.split()
    )


def test_the_terminal_has_sums_margin_and_profile_with_errors() -> None:
    scored = pair()
    text = " ".join(printed(scored, pictures(), Look(width=80)).split())
    for name, side in (("chosen", scored.chosen), ("rejected", scored.rejected)):
        assert f"{name} reward {image.with_error(side.reward, side.reward_error, 2)}" in text
    assert f"margin {scored.margin:+.2f} ± {scored.margin_error:.2f}" in text
    assert f"P(chosen is preferred) {scored.preference_probability:.3f}" in text
    for n, time in enumerate(scored.chosen.timesteps):
        numbers = [
            image.with_error(side.profile[n], side.profile_error[n], 2) for side in (scored.chosen, scored.rejected)
        ]
        assert f"{time} {' '.join(numbers)}" in text
    assert "means over 10 timesteps from 50 to 950 with 4 draws" in text


def test_the_longest_bar_is_the_largest_reward_and_its_sign_shows() -> None:
    rewards = np.zeros((3, 2, 2, 2))
    rewards[0, ..., 0, 0], rewards[1, ..., 0, 0] = -1.2, 0.6
    text = printed(exact(rewards), drawings.drawing(), Look(width=80, colours="none"))
    rows = [line.split() for line in text.split("\n") if line.split()[:1] in (["50"], ["150"], ["250"])]
    assert [row[4:] for row in rows] == [["−" * 12], ["+" * 6], []]


def test_of_many_timesteps_twenty_are_listed_and_that_is_said() -> None:
    text = printed(credit(steps=50), drawings.drawing(), Look(width=80))
    assert "20 of 50 timesteps" in text
    assert sum(line.split()[:1] in ([str(time)] for time in range(50, 5000, 100)) for line in text.split("\n")) == 20

"""What views of a picture's credit share, its figure, and what every view says; see also those of terminal and page."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import drawings
import numpy as np
import pytest
from drawings import PUNISHED, SIDE, credit, exact, pair, pictures, printed
from figures import drawn, unhinted, words, written  # noqa: F401  (unhinted is a fixture)
from matplotlib.figure import Figure

from dpo_credit.credit import CreditError
from dpo_credit.image import PictureCredit, PictureDiff
from dpo_credit.views import image
from dpo_credit.views.figure.image import PANELS, draw
from dpo_credit.views.image import Pictures
from dpo_credit.views.look import Look
from dpo_credit.views.page.image import page
from dpo_credit.views.scale import PALETTES, Scale, Theme

HOSTILE = "$\\frac{1}{2}$ <script>alert(1)</script> & \x1b[31m \u202e {{ 7 * 7 }}"


def panel(figure: Figure, label: str) -> np.ndarray:
    """The image on the panel of that name; the upper one of a blended panel."""
    axes = next(axes for axes in figure.axes if axes.get_label() == label)
    return np.asarray(axes.images[-1].get_array())


# Colours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_maps_colours_are_those_of_the_scale(theme: Theme, palette) -> None:
    values = np.linspace(-1.5, 1.5, 61).reshape(1, -1)
    scale = Scale(1.2, palette=palette)
    expected = [scale.shade(value, theme)[0] for value in values[0]]
    # opacity is in 255ths: a channel may be one off
    assert np.abs(image.coloured(values, scale, theme)[0].astype(int) - expected).max() <= 1


def test_a_scale_ends_where_a_hundredth_of_the_cells_lies_beyond() -> None:
    values = np.arange(1.0, 1002.0)  # the quantile .99 of 1 to 1001 is 1 + .99 * 1000
    assert image.scale_of([values[:500], -values[500:]]).limit == pytest.approx(991)


def test_a_single_strong_cell_leaves_noise_grey() -> None:
    values = np.full((100, 10), 0.01)
    values[3, 3] = -8.0
    scale = image.scale_of([values])
    assert scale.limit == 2.0  # a quarter of the largest
    assert scale.position(0.01) == 0.005


def test_a_map_of_zeros_is_neutral_and_has_no_outline() -> None:
    values = np.zeros((4, 4))
    scale = image.scale_of([values])
    assert set(map(tuple, image.coloured(values, scale, "light").reshape(-1, 3))) == {scale.shade(0.0, "light")[0]}
    assert image.outlines(values, image.level_of([values])) == ([], [])


def test_a_faded_picture_is_grey_and_near_the_neutral_colour() -> None:
    faded = image.faded(np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8), "orange-blue", "light")
    # .45 of the luminance (.2126 * 255 of red, 255 of white) and .55 of 250
    assert faded.tolist() == [[[162] * 3, [252] * 3]]


# Cells ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 2), (3, 5)])
def test_pooled_cells_are_the_sums_of_their_blocks(rows: int, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 7, 9))
    pooled = image.pooled(values, rows, columns)
    for n in range(2):
        for i in range(pooled.shape[1]):
            for j in range(pooled.shape[2]):
                block = values[n, rows * i : rows * (i + 1), columns * j : columns * (j + 1)]
                assert pooled[n, i, j] == pytest.approx(block.sum())
    assert pooled.shape == (2, -(-7 // rows), -(-9 // columns))


def test_outlines_close_around_the_place_and_nowhere_else() -> None:
    values = np.zeros((32, 32))
    values[12:22, 18:28], values[:6, :6] = -1.0, 0.8  # one within, one at a corner
    level = image.level_of([values])
    assert level == pytest.approx(0.5, abs=0.01)  # half the largest: within a block ten wide, smoothing changes little
    (below,), (above,) = image.outlines(values, level)
    for line, (left, top, right, bottom) in ((below, (18, 12, 28, 22)), (above, (0, 0, 6, 6))):
        assert (line[0] == line[-1]).all()
        assert np.abs([*line.min(axis=0), *line.max(axis=0)] - np.array([left, top, right, bottom])).max() < 0.6


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CreditError, match="1 pictures for 2 credits: give each credit its own"):
        image.sides(pair(), drawings.drawing())
    with pytest.raises(CreditError, match=r"A picture is float64 of shape \(32, 32, 3\): give .* uint8, RGB"):
        image.sides(credit(), drawings.drawing() / 255)
    with pytest.raises(CreditError, match=r"shape \(32, 32\)"):
        image.sides(credit(), drawings.drawing()[..., 0])


@pytest.mark.parametrize(
    ("latent", "block", "name"),
    [
        (False, 1, "pixel"),
        (False, 4, "block of 4 × 4 pixels"),
        (True, 1, "latent cell, drawn over its 8 × 8 pixels"),
        (True, 2, "block of 2 × 2 latent cells, drawn over its 16 × 16 pixels"),
    ],
)
def test_it_is_said_what_a_cell_is(latent: bool, block: int, name: str) -> None:
    assert image.cell_of(exact(np.zeros((1, 1, 8, 8)), size=64 if latent else 8, latent=latent), block) == name


def test_numbers_have_their_errors_and_zero_has_no_sign() -> None:
    assert image.with_error(-1.234, 0.056, 2) == "−1.23 ± 0.06"
    assert image.with_error(1.234, float("nan"), 2) == "+1.23"
    assert image.with_error(-0.001, 0.002, 2) == "+0.00 ± 0.00"


# The figure ----------------------------------------------------------------------------------------------------------


def test_the_figure_has_a_row_a_picture_and_one_scale_for_both() -> None:
    scored = pair()
    figure = draw(scored, pictures())
    labels = [axes.get_label() for axes in figure.axes]
    assert [f"{name} {kind}" for name in ("chosen", "rejected") for kind in PANELS] == labels[1:9]
    scale = image.scale_of([scored.chosen.map, scored.rejected.map])
    for name, side, picture in zip(("chosen", "rejected"), (scored.chosen, scored.rejected), pictures(), strict=True):
        assert (panel(figure, f"{name} picture") == picture).all()
        assert (panel(figure, f"{name} map") == image.coloured(side.map, scale, "light")).all()
        assert (panel(figure, f"{name} blended") == image.overlay(side.map, scale, "light")).all()
        assert (panel(figure, f"{name} outlined") == picture).all()
    lines = {axes.get_label(): len(axes.lines) for axes in figure.axes}
    assert (lines["chosen outlined"], lines["rejected outlined"]) == (0, 2)  # a line and the white below it


def test_the_punished_square_stands_out_in_the_blended_panel() -> None:
    shown = panel(draw(credit(-0.012), drawings.drawing()), "picture blended")[..., 3]
    inside = np.zeros((SIDE, SIDE), bool)
    inside[PUNISHED] = True
    assert shown[inside].min() > 2 * shown[~inside].max()


def test_the_figure_has_sums_margin_and_profile_with_errors() -> None:
    scored = pair()
    figure = draw(scored, pictures())
    text = " ".join(words(figure))
    assert f"margin {scored.margin:+.2f} ± {scored.margin_error:.2f} · P(chosen is preferred)" in text
    assert f"P(chosen is preferred) {scored.preference_probability:.3f}" in text
    for side in (scored.chosen, scored.rejected):
        assert image.with_error(side.reward, side.reward_error, 2) in text
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel() == "reward")
    for bars, side in zip(axes.containers, (scored.chosen, scored.rejected), strict=True):
        assert bars.lines[0].get_xydata().tolist() == [
            [t, y] for t, y in zip(side.timesteps, side.profile, strict=True)
        ]
        ends = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
        expected = [[y - e, y + e] for y, e in zip(side.profile, side.profile_error, strict=True)]
        assert np.allclose(ends, expected)


@pytest.mark.parametrize("width", [2, 3.25, 6.75])
def test_texts_of_the_figure_stay_within_it(width: float) -> None:
    figure = draw(replace(credit(-0.012), prompt=f"{HOSTILE} and so on" * 20), drawings.drawing(), width_in=width)
    box = figure.bbox
    for text in drawn(figure):
        extent = text.get_window_extent()
        assert extent.x0 >= box.x0 - 1 and extent.x1 <= box.x1 + 1, text.get_text()
        assert extent.y0 >= box.y0 - 1 and extent.y1 <= box.y1 + 1, text.get_text()


def test_a_figure_as_narrow_as_nothing_is_refused() -> None:
    with pytest.raises(CreditError, match="width is 1 in; give 2 to 40"):
        draw(credit(), drawings.drawing(), width_in=1)


def test_figures_are_written_in_every_format() -> None:
    figure = draw(credit(-0.012), drawings.drawing(), width_in=3.25)
    for format, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert written(figure, format).startswith(start)


# All views -----------------------------------------------------------------------------------------------------------


def every_view(scored: PictureCredit | PictureDiff, shown: Pictures) -> dict[str, str]:
    """The texts of all views; of the page, its body with the attributes that a reader or a program may show."""
    body = re.sub(
        r"<script.*?</script>|data:image/png;base64,[^\"]*", "", page(scored, shown).split("<body")[1], flags=re.S
    )
    return {
        "terminal": printed(scored, shown, Look(width=200)),
        "figure": " ".join(words(draw(scored, shown))),
        "page": body,
    }


def test_one_draw_has_no_error_and_that_is_said() -> None:
    for name, text in every_view(pair(draws=1), pictures()).items():
        assert "no standard error" in " ".join(text.split()), name
        assert "±" not in text and "nan" not in text.lower(), name
    (axes,) = (axes for axes in draw(pair(draws=1), pictures()).axes if axes.get_ylabel() == "reward")
    assert [bars.has_yerr for bars in axes.containers] == [False, False]


def test_a_single_timestep_has_no_profile() -> None:
    texts = every_view(credit(-0.012, steps=1), drawings.drawing())
    for name, text in texts.items():
        assert "those at timestep 50" in " ".join(text.split()), name
    assert "timestep  " not in texts["terminal"] and "Reward by timestep" not in texts["page"]
    assert "timestep: " not in texts["figure"]


def test_latent_cells_are_said_to_be() -> None:
    scored = replace(credit(-0.012), latent=True, width=256, height=256)
    for name, text in every_view(scored, drawings.drawing(side=256)).items():
        assert "latent cell, drawn over its 8 × 8 pixels" in text, name


def test_a_hostile_prompt_is_text_in_every_view() -> None:
    texts = every_view(replace(credit(), prompt=HOSTILE), drawings.drawing())
    for name, text in texts.items():
        assert not {"\x1b", "\u202e"} & set(text) and "<U+202E>" in unescape(text), name
        assert "{{ 7 * 7 }}" in text, name
    assert "<script>alert" not in texts["page"] and "&lt;script&gt;alert(1)" in texts["page"]
    assert "$\\frac{1}{2}$" in texts["figure"]

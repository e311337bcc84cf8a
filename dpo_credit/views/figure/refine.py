"""A refiner's answers as a figure for a paper, after Figure 4 of Rafailov et al. 2024: the request, each refined prompt
token by token, what was drawn with its map, and what words and pixels add to the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dpo_credit.refine.credit import RefinedCredit
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.chats import prompt_text
from dpo_credit.views import image
from dpo_credit.views.figure import layout
from dpo_credit.views.figure.cells import AnswerCells, draw_cells
from dpo_credit.views.figure.chart import BAR_ENDS_PT, add_scale, plain, signed
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, fonts_for
from dpo_credit.views.figure.sheet import INK, MARGIN_PT, MUTED, POINTS, Sheet, write
from dpo_credit.views.image import Floats, Picture, Side
from dpo_credit.views.look import written_out
from dpo_credit.views.refine import Part, frames_of, parts, probability, starts_of
from dpo_credit.views.scale import Scale, Shading, decimals_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = ("picture", "map", "blended")
_BETWEEN_PT = 7.0
_MOST_PT = 88.0  # of a panel's width
_FRAMES_A_ROW = 8
_BAR_PT = 150.0
_ROW_PT = 13.0  # of a bar of the margin's parts
_LONGEST = 400  # characters of a request that are written
_OWN_SIGNS = "±−×βγ·…=→↵␣0123456789"


class _Panel(NamedTuple):
    """An axes' content, what stands above it, and whose it is."""

    name: str
    draw: Callable[[Axes], None]
    label: str


def render(scored: ScoredRefinement, *, width_in: float = 6.75) -> Figure:
    """The figure.

    Raises:
        CreditError: the figure is too narrow.
    """
    diff, frames = scored.diff, frames_of(scored)
    answers = (diff.chosen, diff.rejected)
    scales = Shading().scales([answer.words for answer in answers])
    maps = [side.credit.map for frame in frames for side in frame]
    scale = image.scale_of(maps)
    request = " ".join(written_out(prompt_text(scored.row.request)[:_LONGEST]).split())
    sheet = Sheet(width_in, fonts_for([request, *(answer.words.tokens.answer for answer in answers), _OWN_SIGNS]))
    sheet.add_line(request, lead="request")
    sheet.add(0.5 * sheet.size)
    for n, (label, answer) in enumerate(zip(("chosen", "rejected"), answers, strict=True)):
        _add_answer(sheet, label, answer, scales[n])
        _add_pictures(sheet, [frame[n] for frame in frames], scale)
    words, first = answers[0].words, frames[0][0].credit
    rewards = [np.array(answer.words.rewards) for answer in answers]
    _add_bar(sheet, rewards, scales[0], f"reward of a token: β × nats, β = {words.beta:g}")
    _add_bar(sheet, maps, scale, f"reward of a {image.cell_of(first)}; γ = {first.beta:g}")
    sheet.add(0.6 * sheet.size)
    _add_parts(sheet, parts(diff))
    sheet.add_line(
        f"P(chosen is preferred) {probability(diff)}. Rewards of pictures are {image.sampled(first)}.", colour=MUTED
    )
    for note in scored.notes:
        sheet.add_line(note, colour=MUTED)
    return sheet.figure()


def _add_answer(sheet: Sheet, label: str, answer: RefinedCredit, scale: Scale) -> None:
    """What an answer earned, and its refined prompt in cells."""
    credit = answer.words
    sums = [signed(value) for value in (answer.reward, credit.reward, answer.pixels)]
    sheet.add_line(f"reward {sums[0]} = words {sums[1]} + pixels {sums[2]}", lead=label)
    units = credit.segments
    cells = AnswerCells(credit, units, tuple(unit.reward for unit in units), scale, label)
    columns = layout.columns(layout.pieces(units, sheet.fonts, sheet.size, sheet.inner))
    draw_cells(sheet, [cells], [columns], outlined=True)


def _add_pictures(sheet: Sheet, sides: Sequence[Side], scale: Scale) -> None:
    """A picture, its map and both blended; of several frames, the pictures, and below them what the blends show."""
    if len(sides) == 1:
        (side,) = sides
        drawings = (
            partial(_draw, pixels=side.picture, values=side.credit.map),
            partial(_draw, pixels=image.coloured(side.credit.map, scale, "light"), values=side.credit.map),
            partial(_draw_blended, side=side, scale=scale),
        )
        _add_row(sheet, [_Panel(*panel, side.label) for panel in zip(PANELS, drawings, strict=True)], side)
        return
    pictures = [
        _Panel(f"frame {n}", partial(_draw, pixels=side.picture, values=side.credit.map), side.label)
        for n, side in enumerate(sides, 1)
    ]
    blends = [
        _Panel(f"reward {signed(side.credit.reward)}", partial(_draw_blended, side=side, scale=scale), side.label)
        for side in sides
    ]
    for row in ([*pictures, *blends],) if len(sides) <= _FRAMES_A_ROW // 2 else (pictures, blends):
        for start in range(0, len(row), _FRAMES_A_ROW):
            _add_row(sheet, row[start : start + _FRAMES_A_ROW], sides[0])


def _add_row(sheet: Sheet, panels: Sequence[_Panel], side: Side) -> None:
    """Panels beside each other, their names above them."""
    width = min(_MOST_PT, (sheet.inner - (len(panels) - 1) * _BETWEEN_PT) / len(panels))
    height, above = width * side.credit.height / side.credit.width, 1.6 * sheet.small

    def place(sheet_axes: Axes, y: float) -> None:
        figure = sheet_axes.get_figure(root=True)
        assert figure is not None
        total = figure.get_size_inches()[1] * POINTS
        for n, panel in enumerate(panels):
            x = MARGIN_PT + n * (width + _BETWEEN_PT)
            write(sheet_axes, x, y + sheet.small, panel.name, sheet.fonts, sheet.small, colour=MUTED)
            rect = (x / sheet.width, 1 - (y + above + height) / total, width / sheet.width, height / total)
            axes = figure.add_axes(rect, label=f"{panel.label} {panel.name}")  # type: ignore[union-attr]  # a Figure
            panel.draw(axes)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(linewidth=0.4, color="#9a9a9a")

    sheet.add(above + height + 0.8 * sheet.size, place)


def _draw(axes: Axes, *, pixels: Picture, values: Floats) -> None:
    """An image over the map's extent in cells, whose edges stay sharp."""
    height, width = values.shape
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")


def _draw_blended(axes: Axes, *, side: Side, scale: Scale) -> None:
    _draw(axes, pixels=image.faded(side.picture, scale.palette, "light"), values=side.credit.map)
    _draw(axes, pixels=image.overlay(side.credit.map, scale, "light"), values=side.credit.map)


def _add_bar(sheet: Sheet, rewards: Sequence[Floats], scale: Scale, unit: str) -> None:
    """A colour bar with its unit below it."""
    values = np.concatenate([each.ravel() for each in rewards])
    beyond = (bool(values.min() < -scale.limit), bool(values.max() > scale.limit))
    right = max(BAR_ENDS_PT, sheet.inner - _BAR_PT - BAR_ENDS_PT)
    beside = sheet.fonts.width(unit, sheet.small) + 6 < right
    add_scale(sheet, scale, beyond, unit, right, beside=beside, height=21)


def _add_parts(sheet: Sheet, rows: Sequence[Part]) -> None:
    """Bars from where the part before ended: words, pixels (with those of each frame), and the margin from zero."""
    font = sheet.fonts.properties(MIN_SIZE_PT)
    decimals = decimals_for(max(abs(row.value) for row in rows))
    names = max(sheet.fonts.width(row.name, sheet.small) for row in rows) + 6
    numbers = [image.with_error(row.value, row.error, decimals) for row in rows]
    room = max(sheet.fonts.width(number, sheet.small) for number in numbers) + 8
    starts = starts_of(rows)

    def bars(axes: Axes) -> None:
        low, high = image.ends("orange-blue", "light")
        for at, (row, start) in enumerate(zip(rows, starts, strict=True)):
            colour = np.array(low if row.value < 0 else high) / 255
            thin = row.name.startswith("frame")
            axes.barh(at, row.value, 0.34 if thin else 0.62, left=start, color=colour, alpha=0.6 if thin else 1.0)
            if np.isfinite(row.error):
                axes.errorbar(start + row.value, at, xerr=row.error, color=INK, linewidth=0.8, capsize=1.8)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.locator_params(axis="x", nbins=6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        for edge in ("top", "right", "left"):
            axes.spines[edge].set_visible(False)
        axes.spines["bottom"].set_linewidth(0.5)
        plain(axes, font)
        axes.tick_params(axis="y", length=0)
        for at, number in enumerate(numbers):
            axes.annotate(
                number, (1, at), xycoords=("axes fraction", "data"), xytext=(room, 0), textcoords="offset points",
                va="center", ha="right", color=INK, fontproperties=font, parse_math=False, annotation_clip=False,
            )  # fmt: skip

    sheet.add_line("what each part adds to the margin, one after the other")
    sheet.add_axes(_ROW_PT * len(rows) + 16, (names, 2, room + 2, 14), bars)

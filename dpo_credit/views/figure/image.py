"""A picture's credit as a figure for a paper: picture, map, both blended, outlines; and the rewards by timestep.

A pair has a row for each picture and one scale for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.views import image
from dpo_credit.views.figure.chart import BAR_ENDS_PT, add_scale, plain
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, fonts_for
from dpo_credit.views.figure.heatmap import format_of, save
from dpo_credit.views.figure.sheet import INK, MARGIN_PT, MUTED, POINTS, Sheet, write
from dpo_credit.views.image import Floats, Picture, Pictures, Side
from dpo_credit.views.look import written_out
from dpo_credit.views.scale import Palette, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "format_of", "save"]

PANELS = ("picture", "map", "blended", "outlined")
_BETWEEN_PT = 7.0
_BAR_MIN_PT = 150.0
_PROMPT = 400  # characters of a prompt that are written
_OWN_SIGNS = "±−×β·…0123456789"
_LINES: tuple[dict[str, Any], ...] = (  # of the chosen and the rejected picture: a map's colours mean something else
    {"color": INK, "marker": "o", "linestyle": "-"},
    {"color": "#767676", "marker": "s", "linestyle": (0, (3, 1.4)), "markerfacecolor": "white"},
)


def draw(
    scored: PictureCredit | PictureDiff,
    pictures: Pictures,
    *,
    width_in: float = 6.75,
    palette: Palette = "orange-blue",
) -> Figure:
    """The prompt, a row of panels for each picture with its reward, the colour bar, and the rewards by timestep.

    Raises:
        CreditError: the pictures do not fit the credit, or the figure is too narrow.
    """
    shown = image.sides(scored, pictures)
    maps = [side.credit.map for side in shown]
    scale, level, decimals = image.scale_of(maps, palette), image.level_of(maps), image.decimals_of(scored)
    prompt = image.shortened(written_out(shown[0].credit.prompt), _PROMPT)
    sheet = Sheet(width_in, fonts_for([prompt, _OWN_SIGNS]))
    if prompt:
        sheet.add_bold(prompt)
    if isinstance(scored, PictureDiff):
        margin = image.with_error(scored.margin, scored.margin_error, decimals)
        sheet.add_line(f"margin {margin} · P(chosen is preferred) {image.probability(scored)}")
    sheet.add(0.4 * sheet.size)
    for row, (side, values) in enumerate(zip(shown, maps, strict=True)):
        reward = f"reward {image.with_error(side.credit.reward, side.credit.reward_error, decimals)}"
        sheet.add_line(reward, lead=side.label if len(shown) > 1 else "")
        _add_panels(sheet, side, values, scale, level, named=not row)
    _add_bar(sheet, maps, scale, shown[0].credit)
    sheet.add(0.5 * sheet.size)
    if len(shown[0].credit.timesteps) > 1:
        _add_profile(sheet, shown)
    notes = [f"Rewards are {image.sampled(shown[0].credit)}.", f"Outlined: {image.outlined(level, scale.decimals)}."]
    for line in (" ".join(notes), *dict.fromkeys(note for side in shown for note in side.credit.notes)):
        sheet.add_line(line, colour=MUTED)
    return sheet.figure()


def _add_panels(sheet: Sheet, side: Side, values: Floats, scale: Scale, level: float, *, named: bool) -> None:
    """Add the four panels beside each other, the first row's with their names above."""
    width = (sheet.inner - (len(PANELS) - 1) * _BETWEEN_PT) / len(PANELS)
    height = width * side.credit.height / side.credit.width
    above = 1.6 * sheet.small if named else 0.4 * sheet.small
    drawings: tuple[Callable[[Axes], None], ...] = (
        lambda axes: _draw(axes, side.picture, values),
        lambda axes: _draw(axes, image.coloured(values, scale, "light"), values),
        lambda axes: _draw_blended(axes, side.picture, values, scale),
        lambda axes: _draw_outlined(axes, side.picture, values, scale, level),
    )

    def place(sheet_axes: Axes, y: float) -> None:
        figure = sheet_axes.get_figure(root=True)
        assert figure is not None
        total = figure.get_size_inches()[1] * POINTS
        for n, (name, drawing) in enumerate(zip(PANELS, drawings, strict=True)):
            x = MARGIN_PT + n * (width + _BETWEEN_PT)
            if named:
                write(sheet_axes, x, y + sheet.small, name, sheet.fonts, sheet.small, colour=MUTED)
            rect = (x / sheet.width, 1 - (y + above + height) / total, width / sheet.width, height / total)
            axes = figure.add_axes(rect, label=f"{side.label} {name}")  # type: ignore[union-attr]  # a Figure
            drawing(axes)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(linewidth=0.4, color="#9a9a9a")

    sheet.add(above + height + 0.8 * sheet.size, place)


def _draw(axes: Axes, pixels: Any, values: Floats) -> None:
    """An image over the map's extent in cells; cells and pixels keep their edges, in vector formats too."""
    height, width = values.shape
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")


def _draw_blended(axes: Axes, picture: Picture, values: Floats, scale: Scale) -> None:
    _draw(axes, image.faded(picture, scale.palette, "light"), values)
    _draw(axes, image.overlay(values, scale, "light"), values)


def _draw_outlined(axes: Axes, picture: Picture, values: Floats, scale: Scale, level: float) -> None:
    """Punished places dashed, rewarded ones solid, over white, so that lines show on any picture."""
    _draw(axes, picture, values)
    styles = zip(image.outlines(values, level), image.ends(scale.palette, "light"), ((0, (3, 1.2)), "-"), strict=True)
    for lines, colour, dashes in styles:
        for line in lines:
            axes.plot(*line.T, color="white", linewidth=2.6, solid_joinstyle="round")
            axes.plot(*line.T, color=np.array(colour) / 255, linewidth=1.4, linestyle=dashes)


def _add_bar(sheet: Sheet, maps: Sequence[Floats], scale: Scale, credit: PictureCredit) -> None:
    """The colour bar, with its unit beside it where there is room, else below."""
    values = np.concatenate([each.ravel() for each in maps])
    beyond = (bool(values.min() < -scale.limit), bool(values.max() > scale.limit))
    unit = f"reward of a {image.cell_of(credit)}; β = {credit.beta:g}"
    taken = sheet.fonts.width(unit, sheet.small) + BAR_ENDS_PT + 6
    beside = sheet.inner - taken - 2 * BAR_ENDS_PT > _BAR_MIN_PT
    add_scale(sheet, scale, beyond, unit, taken if beside else BAR_ENDS_PT, beside=beside)


def _add_profile(sheet: Sheet, shown: Sequence[Side]) -> None:
    """Each picture's reward by timestep, with standard errors where there are any."""
    font = sheet.fonts.properties(MIN_SIZE_PT)

    def profiles(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linewidth=0.4)
        for side, line in zip(shown, _LINES, strict=False):
            credit = side.credit
            errors = None if np.isnan(credit.profile_error).any() else credit.profile_error
            axes.errorbar(
                credit.timesteps, credit.profile, yerr=errors, label=side.label, markersize=3, linewidth=1.1,
                elinewidth=0.8, capsize=1.8, **line,
            )  # fmt: skip
        axes.set_xlabel("timestep: the noise grows to the right", fontproperties=font, labelpad=1.5)
        axes.set_ylabel("reward", fontproperties=font, labelpad=2)
        axes.margins(x=0.02, y=0.1)
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
        for edge in ("left", "bottom"):
            axes.spines[edge].set_linewidth(0.5)
        plain(axes, font)
        if len(shown) > 1:
            axes.legend(prop=font, frameon=False, loc="best", handlelength=2.6)

    sheet.add_axes(88, (30, 3, 2, 22), profiles)

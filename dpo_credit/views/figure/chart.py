"""What stands below the cells of a heatmap: the cumulative rewards and margin of two answers, and the colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_credit.align import Cumulative, Range, cumulative
from dpo_credit.segments import Segment
from dpo_credit.views.figure.fonts import MIN_SIZE_PT
from dpo_credit.views.figure.sheet import INK, MUTED, Sheet
from dpo_credit.views.scale import RGB, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

_BAND = "#e9e9ec"
_NOISE: tuple[RGB, RGB] = ((236, 236, 236), (98, 98, 98))  # 5.2:1
_STEPS = 201
BAR_ENDS_PT = 13.0  # for half a tick label at each end of a colour bar
_MARGIN = "margin"
_LINES = (("-", INK), ((0, (3, 1.4)), "#767676"))  # of the chosen and the rejected answer


def colours(scale: Scale, reward: float) -> tuple[str, str]:
    """A cell's colour and its text's; grey within the noise floor."""
    background, text = _NOISE if abs(reward) < scale.noise else scale.shade(reward, "light")
    return "#{:02x}{:02x}{:02x}".format(*background), "#{:02x}{:02x}{:02x}".format(*text)


def signed(value: float) -> str:
    """A sign and three significant digits."""
    return f"{value:+.3g}".replace("-", "−")


def fixed(value: float, decimals: int) -> str:
    """A sign and so many decimals."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def add_scale(
    sheet: Sheet, scale: Scale, beyond: tuple[bool, bool], unit: str, right: float, *, beside: bool, height: float = 19
) -> None:
    """A colour bar (see `colour_bar`) that ends `right` points before the sheet does, its unit `beside` it or below."""
    font = sheet.fonts.properties(MIN_SIZE_PT)

    def draw(axes: Axes) -> None:
        colour_bar(axes, scale, font, beyond)
        if beside:
            axes.annotate(
                unit, (1, 0.5), xycoords="axes fraction", xytext=(BAR_ENDS_PT + 6, 0), textcoords="offset points",
                va="center", color=INK, fontproperties=sheet.fonts.properties(sheet.small), parse_math=False,
            )  # fmt: skip

    sheet.add_axes(height, (BAR_ENDS_PT, 2, right, 11), draw)
    if not beside:
        sheet.add_line(unit)


def colour_bar(axes: Axes, scale: Scale, font: FontProperties, beyond: tuple[bool, bool]) -> None:
    """The scale's colours over rewards; pointed where rewards lie `beyond` its lower or upper end."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    limit = scale.limit
    rewards = [limit * (2 * step / (_STEPS - 1) - 1) for step in range(_STEPS)]
    shades = ListedColormap([colours(scale, reward)[0] for reward in rewards])
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    norm = Normalize(-limit or -1.0, limit or 1.0)  # all rewards zero: one colour, and one tick
    assert axes.figure is not None
    bar = axes.figure.colorbar(ScalarMappable(norm, shades), cax=axes, orientation="horizontal", extend=extend)
    assert bar.solids is not None
    bar.solids.set_edgecolor("face")  # no seams in vector viewers
    bar.outline.set_linewidth(0.4)
    ticks = [-limit, -limit / 2, 0.0, limit / 2, limit] if limit else [0.0]
    bar.set_ticks(ticks, labels=[signed(tick) if tick else "0" for tick in ticks])
    plain(axes, font)


def add_charts(
    sheet: Sheet, units: Sequence[Sequence[Segment]], edits: Sequence[tuple[Range, Range]], names: Sequence[str]
) -> None:
    """Running sums of both answers' rewards, and below, on a scale of its own, the margin between them.

    The edits are bands with their numbers, the same for both answers.
    """
    ours, theirs = ([unit.reward for unit in side] for side in units)
    curves = cumulative(ours, theirs, edits)
    font = sheet.fonts.properties(MIN_SIZE_PT)
    right = max(sheet.fonts.width(name, MIN_SIZE_PT) for name in (*names, _MARGIN)) + 4

    def rewards(axes: Axes) -> None:
        for side, sums in enumerate((curves.chosen, curves.rejected)):
            style, colour = _LINES[side]
            axes.plot(sums, linestyle=style, color=colour, linewidth=1.1, gid=f"cumulative{side}")
        _over_places(axes, curves, font, "band")
        _name_ends(axes, (curves.chosen[-1], curves.rejected[-1]), names, font)
        _number_bands(axes, curves.edits, font)
        axes.tick_params(labelbottom=False)  # the places are those of the margin below

    def margin(axes: Axes) -> None:
        axes.plot(curves.margin, color=INK, linewidth=1.1, gid="cumulative-margin")
        _over_places(axes, curves, font, "marginband")
        _name(axes, curves.margin[-1], _MARGIN, INK, font)

    tall = 62 if sheet.size < 8 else 76
    sheet.add_axes(tall - 8, (24, 9, right, 3), rewards)
    sheet.add_axes(0.6 * tall, (24, 3, right, 11), margin)


def _over_places(axes: Axes, curves: Cumulative, font: FontProperties, band: str) -> None:
    """A line at zero, the edits' bands with the ids `band` and their number, ticks, and two of the four edges."""
    for number, (low, high) in enumerate(curves.edits):
        axes.axvspan(low, high, color=_BAND, linewidth=0, zorder=0, gid=f"{band}{number + 1}")
    axes.axhline(0, color=MUTED, linewidth=0.4)
    axes.set_xlim(0, len(curves.margin) - 1)
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    for edge in ("left", "bottom"):
        axes.spines[edge].set_linewidth(0.5)
    plain(axes, font)


def plain(axes: Axes, font: FontProperties) -> None:
    """Thin ticks, with labels in this font."""
    axes.tick_params(length=2, width=0.5, pad=1.5, colors=INK)
    axes.minorticks_off()
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font)


def _name_ends(axes: Axes, ends: Sequence[float], names: Sequence[str], font: FontProperties) -> None:
    """Each curve's name at its right end, moved apart where they would touch."""
    low, high = axes.get_ylim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    height_pt = axes.get_position().height * figure.get_size_inches()[1] * 72
    apart = (font.get_size_in_points() * 1.25) / height_pt * (high - low)
    upper = 0 if ends[0] >= ends[1] else 1
    middle, half = sum(ends) / 2, max(abs(ends[0] - ends[1]), apart) / 2
    for side, name in enumerate(names):
        y = middle + half if side == upper else middle - half
        _name(axes, y, name, _LINES[side][1], font)


def _name(axes: Axes, y: float, name: str, colour: str, font: FontProperties) -> None:
    axes.annotate(
        name, (1, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        va="center", color=colour, fontproperties=font, parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _number_bands(axes: Axes, starts: Sequence[tuple[int, int]], font: FontProperties) -> None:
    """The edits' numbers above their bands, but for those that would touch the one before."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width_pt = axes.get_position().width * figure.get_size_inches()[0] * 72
    free = -1.0
    for number, (low, high) in enumerate(starts, start=1):
        at = (low + high) / 2
        half = 0.35 * font.get_size_in_points() * len(str(number)) * axes.get_xlim()[1] / width_pt
        if at - half > free:
            axes.annotate(
                str(number), (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 1.5),
                textcoords="offset points", ha="center", va="bottom", color=MUTED, fontproperties=font,
            )  # fmt: skip
            free = at + 1.4 * half

"""A picture's credit in the terminal: the picture beside its map in half blocks, its sums, and rewards by timestep.

A character's cell holds two pixels. Where there are no such colours, signs stand for the map, and a table for its
strongest places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.views import image
from dpo_credit.views.image import Floats, Picture, Pictures, Side
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Palette, Scale, decimals_for, shade
from dpo_credit.views.terminal.colours import signed

_GAP = 2  # columns between a picture and its map
_APART = 4  # columns between two pictures' panels
_LEAST, _MOST = 32, 64  # columns of a picture: as many as two have beside each other, or none; and at most
_SIGNS = 32  # columns of a map in signs
_PLACES = 4  # cells at either end of the table
_STEPS = 20  # rows of the profile
_BAR = 12  # columns of the longest bar in a profile
_PROMPT = 300  # characters of a prompt that are shown


def show(
    scored: PictureCredit | PictureDiff,
    pictures: Pictures,
    look: Look,
    *,
    palette: Palette = "orange-blue",
) -> RenderableType:
    """The prompt, each picture with its map and reward, margin and preference of a pair, and the profile.

    Raises:
        CreditError: the pictures do not fit the credit.
    """
    shown = image.sides(scored, pictures)
    decimals = image.decimals_of(scored)
    prompt = visible(look.plain(image.shortened(shown[0].credit.prompt, _PROMPT)), look)
    parts: list[RenderableType] = [Text(prompt, style="bold"), Text()] if prompt else []
    drawn, legend = panels(shown, look, palette)
    captions = [_sum(side, decimals, look, named=len(shown) > 1) for side in shown]
    columns = [Group(caption, panel) for caption, panel in zip(captions, drawn, strict=True)]
    parts += [*beside(columns, look), legend, Text()]
    if isinstance(scored, PictureDiff):
        margin = look.plain(image.with_error(scored.margin, scored.margin_error, decimals))
        probability = f"P(chosen is preferred) {image.probability(scored)}"
        parts += [Text.assemble(("margin ", "bold"), (margin, "bold"), "   ", probability), Text()]
    if len(shown[0].credit.timesteps) > 1:
        parts += [_profile(shown, look, palette), Text()]
    return Group(*parts, Text(look.plain(f"rewards are {image.sampled(shown[0].credit)}"), style="dim"))


def _sum(side: Side, decimals: int, look: Look, *, named: bool) -> Text:
    reward = look.plain(image.with_error(side.credit.reward, side.credit.reward_error, decimals))
    return Text.assemble((f"{side.label} " if named else "", "bold"), f"reward {reward}")


def beside(columns: Sequence[RenderableType], look: Look) -> list[RenderableType]:
    """Panels beside each other where two are as wide as they need to be, else below each other."""
    if len(columns) < 2 or _room(2, look) < _LEAST:
        return [part for column in columns for part in (column, Text())]
    grid = Table.grid(padding=(0, _APART, 0, 0))
    grid.add_row(*columns)
    return [grid, Text()]


def _room(panels: int, look: Look) -> int:
    """Columns of a picture, and as many of its map, where so many panels stand beside each other."""
    return min(_MOST, ((look.width - _APART * (panels - 1)) // panels - _GAP) // 2)


def panels(shown: Sequence[Side], look: Look, palette: Palette = "orange-blue") -> tuple[list[RenderableType], Text]:
    """Each picture with its map, in colours or in signs, and the legend of the scale that they share."""
    return _in_colours(shown, look, palette) if look.colours == "full" else _in_signs(shown, look, palette)


def _in_colours(shown: Sequence[Side], look: Look, palette: Palette) -> tuple[list[RenderableType], Text]:
    """Each picture and its map, and the legend of the scale that they share."""
    room = _room(len(shown), look)
    room = max(1, room if room >= _LEAST else _room(1, look))
    blocks = [_block(side.credit, room) for side in shown]
    maps = [image.pooled(side.credit.map, block, block) for side, block in zip(shown, blocks, strict=True)]
    scale = image.scale_of(maps, palette)
    panels: list[RenderableType] = []
    for side, values in zip(shown, maps, strict=True):
        times = room // values.shape[1]  # cells that are larger than pixels stay sharp
        coloured = np.kron(image.coloured(values, scale, look.theme), np.ones((times, times, 1), np.uint8))
        pixels = _resized(side.picture, coloured.shape[1], coloured.shape[0])
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_row(_half_blocks(pixels), _half_blocks(coloured))
        panels.append(grid)
    legend = Text(f"{signed(-scale.limit, look)} ", style="dim")
    for step in range(21):
        legend.append(" ", Style(bgcolor=_colour(shade(step / 10 - 1, look.theme, palette)[0])))
    legend.append(look.plain(f" {signed(scale.limit, look)}  reward of a {image.cell_of(shown[0].credit, blocks[0])}"))
    return panels, legend


def _block(credit: PictureCredit, columns: int) -> int:
    """How many cells a side are drawn as one in so many columns."""
    return math.ceil(credit.policy.shape[3] / columns)


def _resized(picture: Picture, width: int, height: int) -> Picture:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _half_blocks(pixels: Picture) -> Text:
    """Two pixels a character, one above the other."""
    lines = []
    for upper, lower in _pairs(pixels):
        line = Text(no_wrap=True)
        for n, above in enumerate(upper):
            below = None if lower is None else _colour(lower[n])
            line.append("▀", Style(color=_colour(above), bgcolor=below))
        lines.append(line)
    return Text("\n").join(lines)


def _pairs(pixels: Picture) -> list[tuple[Picture, Picture | None]]:
    rows = [*pixels, *([None] if len(pixels) % 2 else [])]
    return list(zip(rows[::2], rows[1::2], strict=True))


def _colour(rgb: Sequence[int] | NDArray[np.uint8]) -> Color:
    red, green, blue = map(int, rgb)
    return Color.from_rgb(red, green, blue)


def _in_signs(shown: Sequence[Side], look: Look, palette: Palette) -> tuple[list[RenderableType], Text]:
    """Each map in signs with its lowest and highest places, and the legend of the scale that they share."""
    blocks = [_block(side.credit, min(_SIGNS, look.width)) for side in shown]
    # a character is about twice as tall as wide
    maps = [image.pooled(side.credit.map, 2 * block, block) for side, block in zip(shown, blocks, strict=True)]
    scale = image.scale_of(maps, palette)
    panels: list[RenderableType] = []
    for side, values, block in zip(shown, maps, blocks, strict=True):
        signs = "\n".join("".join(_sign(value, scale) for value in row) for row in values)
        panels.append(Group(Text(look.plain(signs)), Text(), _places(side, values, block, scale, look)))
    ends = [signed(end * scale.stands_out, look) for end in (-1, 1)]
    legend = f"▼ {ends[0]} or below, ▲ {ends[1]} or above: rewards of the cells under a sign"
    return panels, Text(look.plain(legend), style="dim")


def _sign(value: float, scale: Scale) -> str:
    return "·" if not scale.signs(value) else "▼" if value < 0 else "▲"


def _places(side: Side, values: Floats, block: int, scale: Scale, look: Look) -> Table:
    """The lowest and the highest cells of the map in signs, and where they lie in the picture."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("reward", "pixels from the left", "from the top"):
        table.add_column(heading, justify="right", no_wrap=True)
    order = np.argsort(values, axis=None)
    picked = order if len(order) <= 2 * _PLACES else [*order[:_PLACES], *order[-_PLACES:]]
    height, width = side.credit.policy.shape[2:]
    for row, column in zip(*np.unravel_index(picked, values.shape), strict=True):
        x = _stretch(int(column), block, width, side.credit.width)
        y = _stretch(int(row), 2 * block, height, side.credit.height)
        table.add_row(signed(values[row, column], look, scale.decimals), x, y)
    return table


def _stretch(at: int, block: int, cells: int, pixels: int) -> str:
    """The first and the last pixel of a block of cells, counted from 0."""
    first, last = at * block * pixels // cells, min(cells, (at + 1) * block) * pixels // cells - 1
    return f"{first}" if last <= first else f"{first} to {last}"


def _profile(shown: Sequence[Side], look: Look, palette: Palette) -> Table:
    """Each picture's reward at every timestep, or evenly spaced ones of many, with its standard error and a bar."""
    profiles = [side.credit.profile for side in shown]
    largest = max(float(np.abs(profile).max()) for profile in profiles)
    decimals, times = decimals_for(largest), shown[0].credit.timesteps
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("timestep", justify="right", no_wrap=True)
    for side in shown:
        table.add_column(side.label if len(shown) > 1 else "reward", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, width=_BAR)
    for n in np.unique(np.linspace(0, len(times) - 1, min(_STEPS, len(times))).round().astype(int)):
        cells: list[str | Text] = []
        for side, profile in zip(shown, profiles, strict=True):
            number = image.with_error(profile[n], side.credit.profile_error[n], decimals)
            cells += [look.plain(number), _bar(profile[n], largest, look, palette)]
        table.add_row(str(times[n]), *cells)
    if len(times) > _STEPS:
        table.caption = f"{_STEPS} of {len(times)} timesteps"
    return table


def _bar(value: float, largest: float, look: Look, palette: Palette) -> Text:
    length = round(_BAR * abs(value) / (largest or 1.0))
    if look.colours != "full":
        return Text(look.plain("−" if value < 0 else "+") * length)
    low, high = image.ends(palette, look.theme)
    return Text().append(" " * length, Style(bgcolor=_colour(low if value < 0 else high)))

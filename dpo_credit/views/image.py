"""What views of a picture's credit share: the colours of its map, cells put together, outlines, and words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpo_credit.credit import CreditError
from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.views.scale import Palette, Scale, Theme, decimals_for, shade

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]  # (H, W, 3)
Pictures = Picture | Sequence[Picture]  # that of a credit, or the chosen and the rejected one

FADED = 0.45  # how much of a picture's grey is left under a map that is blended with it
_SHARE = 0.99  # of the cells, which the colours tell apart
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # as CSS's grayscale() has them
_SMOOTH = 1 / 32  # of a map's longer side: the deviation of the Gaussian under outlines
_OUTLINED = 0.5  # of the largest smoothed magnitude


class Side(NamedTuple):
    """A picture with its credit, and what it is called: "chosen", "rejected" or "picture"."""

    label: str
    credit: PictureCredit
    picture: Picture


def sides(scored: PictureCredit | PictureDiff, pictures: Pictures) -> tuple[Side, ...]:
    """The picture, or the chosen and the rejected one, as views draw them.

    Raises:
        CreditError: there are not as many pictures as credits, or one is no (H, W, 3) array of bytes.
    """
    pictures = [pictures] if isinstance(pictures, np.ndarray) else pictures
    credits = (scored.chosen, scored.rejected) if isinstance(scored, PictureDiff) else (scored,)
    labels = ("chosen", "rejected") if len(credits) > 1 else ("picture",)
    if len(pictures) != len(credits):
        raise CreditError(f"{len(pictures)} pictures for {len(credits)} credits: give each credit its own picture.")
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise CreditError(
                f"A picture is {picture.dtype} of shape {picture.shape}: give (height, width, 3) of uint8, RGB."
            )
    return tuple(map(Side, labels, credits, pictures))


def scale_of(maps: Iterable[Floats], palette: Palette = "orange-blue") -> Scale:
    """One scale for maps: the colours end where a hundredth of the cells lies beyond, or at a quarter of the largest.

    So a few cells cannot grey out a shape, and noise around a single strong cell cannot pass for colour.
    """
    sizes = np.abs(np.concatenate([values.ravel() for values in maps]))
    return Scale(float(max(np.quantile(sizes, _SHARE), sizes.max() / 4)), palette=palette)


def positions(values: Floats, scale: Scale) -> Floats:
    """`scale.position` of every cell of a map without a noise floor."""
    return np.clip(values / (scale.limit or 1.0), -1.0, 1.0)


def overlay(values: Floats, scale: Scale, theme: Theme) -> NDArray[np.uint8]:
    """(h, w, 4): over the neutral colour these are the colours of `scale.shade`, over a picture they tint it.

    A shade runs straight from the neutral colour to the end's, so it is the end's colour with the position as opacity.
    """
    where = positions(values, scale)
    low, high = ends(scale.palette, theme)
    colours = np.where(where[..., None] < 0, np.array(low), np.array(high))
    return np.dstack((colours, np.rint(255 * np.abs(where)))).astype(np.uint8)


def ends(palette: Palette, theme: Theme) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The colours at the lowest and at the highest reward."""
    return shade(-1.0, theme, palette)[0], shade(1.0, theme, palette)[0]


def neutral(palette: Palette, theme: Theme) -> tuple[int, int, int]:
    """The colour at zero."""
    return shade(0.0, theme, palette)[0]


def coloured(values: Floats, scale: Scale, theme: Theme) -> NDArray[np.uint8]:
    """(h, w, 3): the map by itself."""
    shown = overlay(values, scale, theme).astype(float)
    opacity = shown[..., 3:] / 255
    mixed = opacity * shown[..., :3] + (1 - opacity) * np.array(neutral(scale.palette, theme))
    return np.rint(mixed).astype(np.uint8)


def faded(picture: Picture, palette: Palette, theme: Theme) -> NDArray[np.uint8]:
    """(H, W, 3): the picture in greys near the neutral colour, so that its own colours do not pass for a map's."""
    grey = picture @ np.array(_LUMINANCE)
    mixed = FADED * grey[..., None] + (1 - FADED) * np.array(neutral(palette, theme))
    return np.rint(mixed).astype(np.uint8)


def pooled(values: Floats, rows: int, columns: int) -> Floats:
    """(..., h, w) -> (..., ceil(h / rows), ceil(w / columns)): the sums of blocks of so many cells."""
    sums = np.add.reduceat(values, range(0, values.shape[-2], rows), axis=-2)
    return np.add.reduceat(sums, range(0, values.shape[-1], columns), axis=-1)


def smoothed(values: Floats) -> Floats:
    """A map smoothed over about a thirty-second of its longer side."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, _SMOOTH * max(values.shape)))


def level_of(maps: Iterable[Floats]) -> float:
    """The smoothed reward whose places are outlined: half the largest magnitude in any of the maps."""
    return _OUTLINED * max(float(np.abs(smoothed(values)).max()) for values in maps)


def outlines(values: Floats, level: float) -> tuple[list[Floats], list[Floats]]:
    """Closed lines, each (n, 2) of x and y in cells, around the smoothed map's places below -level and above +level."""
    from contourpy import contour_generator

    if not level:
        return [], []
    height, width = values.shape
    framed = np.pad(smoothed(values), 1)  # with zeros, so that lines close at the edges
    x, y = np.arange(width + 2) - 0.5, np.arange(height + 2) - 0.5
    below, above = (
        [
            np.clip(np.asarray(line), (0, 0), (width, height))
            for line in contour_generator(x, y, side * framed).lines(level)
        ]
        for side in (-1, 1)
    )
    return below, above


def outlined(level: float, decimals: int) -> str:
    """What is outlined."""
    if not level:
        return "nothing: all rewards are zero"
    limit = f"{level:.{decimals}f}"
    smoothed = "the map, smoothed over a thirty-second of its longer side,"
    return f"where {smoothed} is below −{limit} (dashed) or above +{limit} (solid)"


def shortened(text: str, most: int) -> str:
    """A prompt in one line, or its beginning."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most].rstrip() + "…"


def cell_of(credit: PictureCredit, block: int = 1) -> str:
    """What a cell of the map is called, where `block` cells a side are drawn as one."""
    height, width = credit.policy.shape[2:]
    pixels = f"{credit.width * block / width:g} × {credit.height * block / height:g} pixels"
    if not credit.latent:
        return f"block of {pixels}" if block > 1 else "pixel"
    return f"{f'block of {block} × {block} latent cells' if block > 1 else 'latent cell'}, drawn over its {pixels}"


def sampled(credit: PictureCredit) -> str:
    """What rewards are means over."""
    steps, draws = credit.policy.shape[:2]
    first, last = credit.timesteps[0], credit.timesteps[-1]
    times = f"means over {steps} timesteps from {first} to {last}" if steps > 1 else f"those at timestep {first}"
    if draws == 1:
        return f"{times} with one draw of noise: no standard error"
    return f"{times} with {draws} draws of noise each; ± is one standard error over the draws"


def decimals_of(scored: PictureCredit | PictureDiff) -> int:
    """Decimals for sums and profiles: three significant digits of the largest sum."""
    if isinstance(scored, PictureDiff):
        return decimals_for(max(abs(scored.chosen.reward), abs(scored.rejected.reward), abs(scored.margin)))
    return decimals_for(abs(scored.reward))


def with_error(value: float, error: float, decimals: int) -> str:
    """A number with its sign and its standard error; without one where there is none."""
    shown = f"{round(value, decimals) or 0:+.{decimals}f}".replace("-", "−")
    return shown if math.isnan(error) else f"{shown} ± {error:.{decimals}f}"


def probability(diff: PictureDiff) -> str:
    """The probability that the chosen picture is preferred, after its name."""
    value = diff.preference_probability
    return "> 0.999" if value > 0.9995 else "< 0.001" if value < 0.0005 else f"{value:.3f}"

"""A picture's credit as one self-contained page: its map side by side, blended or outlined, and a chart over timesteps.

Without a script the page shows the map over all timesteps; image.js walks through them with the slider.
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dpo_credit.credit import Source
from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.views import image
from dpo_credit.views.image import Floats, Picture, Pictures, Side
from dpo_credit.views.page.chart import ticks
from dpo_credit.views.page.frame import block_hash, environment, shades, verbatim
from dpo_credit.views.page.text import signed, visible
from dpo_credit.views.scale import Palette, Scale, Theme

_CELLS = 128  # a side, of a map on the page; of larger ones, blocks of cells are summed
_PIXELS = 512  # a side, of a picture on the page
_SHARP = 160  # pixels a side up to which they keep their edges
_STEPS = 32767  # of a reward, from zero to the largest of a picture
_THEMES: tuple[Theme, ...] = ("light", "dark")


def page(
    scored: PictureCredit | PictureDiff,
    pictures: Pictures,
    *,
    title: str = "Credit of a picture",
    palette: Palette = "orange-blue",
    source: Source | None = None,
) -> str:
    """The page; `source` is which models scored, where that is known.

    Raises:
        CreditError: the pictures do not fit the credit.
    """
    shown = image.sides(scored, pictures)
    templates, first = environment(), shown[0].credit
    style = Markup(
        "".join(verbatim(templates, name) for name in ("style.css", "report.css", "image.css"))
        + shades(palette)
        + colours(palette)
    )
    script = Markup(verbatim(templates, "image.js"))
    drawn = [maps_of(side.credit) for side in shown]
    scales = [
        image.scale_of((maps[:1] for maps in drawn), palette),
        image.scale_of((maps[1:] for maps in drawn), palette),
    ]
    levels = [
        image.level_of(maps[0] for maps in drawn),
        image.level_of(values for maps in drawn for values in maps[1:]),
    ]
    decimals = image.decimals_of(scored)
    return templates.get_template("image.html").render(
        title=visible(title),
        prompt=visible(first.prompt),
        verdict=_verdict(scored, decimals) if isinstance(scored, PictureDiff) else [],
        sides=[_side(side, maps, scales, levels, decimals) for side, maps in zip(shown, drawn, strict=True)],
        limits=[[signed(end * scale.limit, scale.decimals) for end in (-1, 1)] for scale in scales],
        outlined=[image.outlined(level, scale.decimals) for level, scale in zip(levels, scales, strict=True)],
        cell=image.cell_of(first, _block(first)),
        sampled=image.sampled(first),
        timesteps=first.timesteps,
        chart=_chart(shown),
        notes=[visible(note) for note in dict.fromkeys(note for side in shown for note in side.credit.notes)],
        source=_basis(shown, source),
        data={
            "timesteps": first.timesteps,
            "across": _across(first.timesteps, first.timesteps),
            **_data(drawn, scales, levels),
        },
        style=style,
        script=script,
        style_hash=block_hash(style),
        script_hash=block_hash(script),
    )


def colours(palette: Palette) -> str:
    """The scale's ends and its middle, for what the page tints and outlines."""
    names = {
        "neutral": [image.neutral(palette, theme) for theme in _THEMES],
        "low": [image.ends(palette, theme)[0] for theme in _THEMES],
        "high": [image.ends(palette, theme)[1] for theme in _THEMES],
    }
    rules = "".join(f"--{name}:light-dark(rgb{light},rgb{dark});" for name, (light, dark) in names.items())
    # on a picture, whose colours no theme changes, lines are those of a light page over white
    rules += "".join(f"--line-{name}:rgb{names[name][0]};" for name in ("low", "high"))
    return f":root{{{rules}--faded:{image.FADED}}}\n"


def _verdict(diff: PictureDiff, decimals: int) -> list[tuple[str, str]]:
    """A pair's numbers and what they are called."""
    return [
        ("margin", image.with_error(diff.margin, diff.margin_error, decimals)),
        ("P(chosen is preferred)", image.probability(diff)),
    ]


def _block(credit: PictureCredit) -> int:
    return math.ceil(max(credit.policy.shape[2:]) / _CELLS)


def maps_of(credit: PictureCredit) -> Floats:
    """(1 + S, h, w): the map over all timesteps, then that of each, in no more cells than the page has."""
    maps = np.concatenate((credit.map[None], credit.maps))
    return image.pooled(maps, _block(credit), _block(credit))


def _side(side: Side, maps: Floats, scales: Sequence[Scale], levels: Sequence[float], decimals: int) -> dict[str, Any]:
    credit = side.credit
    profile = [
        image.with_error(*numbers, decimals) for numbers in zip(credit.profile, credit.profile_error, strict=True)
    ]
    return {
        **plate(side, maps[0], scales[0], levels[0]),
        "label": side.label,
        "rewards": [image.with_error(credit.reward, credit.reward_error, decimals), *profile],
    }


def plate(side: Side, values: Floats, scale: Scale, level: float) -> dict[str, Any]:
    """What a template needs to draw a picture with a map over it in both themes, and outlines at a level."""
    return {
        "width": side.credit.width,
        "height": side.credit.height,
        "rows": values.shape[0],
        "columns": values.shape[1],
        "picture": _png(_fitted(side.picture)),
        "sharp": max(side.picture.shape[:2]) <= _SHARP,
        "maps": {theme: _png(image.overlay(values, scale, theme)) for theme in _THEMES},
        "outlines": _outlines(values, level),
    }


def _fitted(picture: Picture) -> Picture:
    """The picture, or a smaller one that the page has room for."""
    from PIL import Image

    times = max(picture.shape[:2]) / _PIXELS
    if times <= 1:
        return picture
    height, width = (max(1, round(size / times)) for size in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _png(pixels: NDArray[np.uint8]) -> str:
    """A data URI of (h, w, 3) or, with opacity, (h, w, 4) bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()


def _outlines(values: Floats, level: float) -> list[str]:
    """The paths around punished and rewarded places, in cells."""
    return [
        "".join("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line) + "Z" for line in lines)
        for lines in image.outlines(values, level)
    ]


def _data(drawn: Sequence[Floats], scales: Sequence[Scale], levels: Sequence[float]) -> dict[str, Any]:
    """What image.js draws maps from: all rewards as 16-bit multiples of a picture's `step`, and the outlines."""
    pictures = []
    for maps in drawn:
        step = float(np.abs(maps).max()) / _STEPS
        rewards = np.rint(maps / (step or 1.0)).astype("<i2")
        outlines = [_outlines(values, levels[min(n, 1)]) for n, values in enumerate(maps)]
        pictures.append({"step": step, "rewards": b64encode(rewards.tobytes()).decode(), "outlines": outlines})
    return {
        "limits": [scale.limit for scale in scales],
        "decimals": [scale.decimals for scale in scales],
        "ends": {theme: image.ends(scales[0].palette, theme) for theme in _THEMES},
        "pictures": pictures,
    }


def _chart(shown: Sequence[Side]) -> dict[str, Any]:
    """Profiles in a box of 1000 by 100, ticks and points in percent; where there is one draw, without whiskers."""
    times = shown[0].credit.timesteps
    lines = []
    for side in shown:
        errors = np.nan_to_num(side.credit.profile_error)
        lines.append((side.label, side.credit.profile, errors))
    low = min(0.0, *(float((profile - errors).min()) for _, profile, errors in lines))
    high = max(0.0, *(float((profile + errors).max()) for _, profile, errors in lines))
    room = (high - low) * 0.06 or 1.0
    low, high = low - room, high + room

    def height(value: float) -> float:
        return round(100 * (high - value) / (high - low), 2)

    across = _across(times, times)
    marks, decimals = ticks(low, high)
    named = [round(mark) for mark in ticks(times[0], times[-1])[0] if mark == round(mark)]
    return {
        "ticks": [(height(mark), mark) for mark in marks],
        "decimals": decimals,
        "x": list(zip(_across(named, times), named, strict=True)),
        "across": across,
        "lines": [
            {
                "label": label,
                "number": number,
                "points": " ".join(f"{10 * x:g},{height(y)}" for x, y in zip(across, profile, strict=True)),
                "dots": [
                    (x, height(y), height(y + error), height(y - error))
                    for x, y, error in zip(across, profile, errors, strict=True)
                ],
            }
            for number, (label, profile, errors) in enumerate(lines, 1)
        ],
    }


def _across(marks: Sequence[int], times: Sequence[int]) -> list[float]:
    """Where timesteps stand in the chart, in percent, with room for half a dot at its edges."""
    first, last = times[0], max(times[-1], times[0] + 1)
    return [round(1.5 + 97 * (mark - first) / (last - first), 2) for mark in marks]


def _basis(shown: Sequence[Side], source: Source | None) -> list[tuple[str, str]]:
    """What the rewards rest on."""
    credit = shown[0].credit
    height, width = credit.policy.shape[2:]
    cells = f"{width} × {height} {'latent cells' if credit.latent else 'pixels'}"
    models = [] if source is None else [("policy", source.policy), ("reference", source.reference)]
    return [
        *((role, visible(name)) for role, name in models),
        ("beta", f"{credit.beta:g}"),
        ("timesteps", str(credit.policy.shape[0])),
        ("draws of noise", str(credit.policy.shape[1])),
        ("map", cells),
    ]

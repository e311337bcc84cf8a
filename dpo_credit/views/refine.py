"""What views of a refiner's answers share: their frames side by side, and the parts that the margin is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dpo_credit.refine.credit import RefinedDiff
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.views.image import Side, sides


class Part(NamedTuple):
    """What something adds to the margin, with a standard error where it has one, else NaN."""

    name: str
    value: float
    error: float = math.nan


def parts(diff: RefinedDiff) -> list[Part]:
    """Words and pixels, of several frames each frame, and the margin, their sum."""
    frames = [
        Part(f"frame {n}", frame.margin, frame.margin_error)
        for n, frame in enumerate(diff.frames, 1)
        if len(diff.frames) > 1
    ]
    pixels = Part("pixels", diff.pixels, diff.pixels_error)
    return [Part("words", diff.words), pixels, *frames, Part("margin", diff.margin, diff.pixels_error)]


def starts_of(rows: Sequence[Part]) -> list[float]:
    """Where bars that follow one another begin: pixels and the first frame where words end, the margin at zero."""
    at = rows[0].value
    starts = [0.0, at]
    for row in rows[2:-1]:
        starts.append(at)
        at += row.value
    return [*starts, 0.0]


def frames_of(scored: ScoredRefinement) -> list[tuple[Side, ...]]:
    """Each frame of the chosen answer beside that of the rejected one, as views of pictures draw them."""
    chosen, rejected = scored.pictures
    return [
        sides(frame, [ours, theirs]) for frame, ours, theirs in zip(scored.diff.frames, chosen, rejected, strict=True)
    ]


def probability(diff: RefinedDiff) -> str:
    """The probability that the chosen answer is preferred, with the sign before it."""
    value = diff.preference_probability
    return "> 0.999" if value > 0.9995 else "< 0.001" if value < 0.0005 else f"= {value:.3f}"

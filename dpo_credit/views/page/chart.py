"""The page's chart in numbers: cumulative rewards of one or two answers over position, for the template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from dpo_credit.align import Diff
from dpo_credit.credit import Credit


def chart(credits: Sequence[Credit], aligned: Diff | None) -> dict[str, Any]:
    """Lines in a box of 1000 by 100, ticks and bands in percent; untouched tokens of a diff share their position."""
    columns, bands = _columns(aligned) if aligned else ([[float(n + 1) for n in range(len(credits[0].segments))]], [])
    sums = [[0.0, *accumulate(segment.reward for segment in credit.segments)] for credit in credits]
    low, high = min(map(min, sums)), max(map(max, sums))
    width = max(side[-1] for side in columns)
    room = (high - low) * 0.06 or 1.0

    def height(value: float) -> float:
        return round(100 * (high + room - value) / (high - low + 2 * room), 1)

    lines = [
        " ".join(f"{1000 * x / width:.0f},{height(y):g}" for x, y in zip([0.0, *side], total, strict=True))
        for side, total in zip(columns, sums, strict=True)
    ]
    marks, decimals = ticks(low, high)
    return {
        "lines": lines,
        "bands": [(round(start / width * 100, 2), round((stop - start) / width * 100, 2)) for start, stop in bands],
        "ticks": [(height(tick), tick) for tick in marks],
        "decimals": decimals,
        "width": int(width),
    }


def ticks(low: float, high: float) -> tuple[list[float], int]:
    """Two to six round numbers from low to high, and the decimals that they need."""
    extent = high - low
    step = 10.0 ** math.floor(math.log10(extent)) if extent else 1.0
    step *= 0.5 if extent and extent / step < 2 else 2 if extent / step > 5 else 1
    marks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return marks, max(0, -math.floor(math.log10(step)))


def _columns(aligned: Diff) -> tuple[list[list[float]], list[tuple[float, float]]]:
    """Where each answer's segments end, untouched ones in one column; and from where to where the edits are."""
    sides: list[list[float]] = [[], []]
    bands: list[tuple[float, float]] = []
    at = 0

    def untouched(count: int) -> int:
        for side in sides:
            side += [float(at + n + 1) for n in range(count)]
        return at + count

    for edit in aligned.edits:
        at = untouched(edit.chosen[0] - len(sides[0]))  # as many in either answer
        counts = [stop - start for start, stop in (edit.chosen, edit.rejected)]
        for side, count in zip(sides, counts, strict=True):
            side += [at + max(counts) * (n + 1) / count for n in range(count)]
        bands.append((float(at), float(at + max(counts))))
        at += max(counts)
    untouched(len(aligned.chosen.segments) - len(sides[0]))
    return sides, bands

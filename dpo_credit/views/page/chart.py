"""The page's chart in numbers: cumulative rewards of one or two answers over position, for the template to draw."""

from __future__ import annotations

import math
from bisect import bisect, insort
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from dpo_credit.align import Diff, cumulative
from dpo_credit.credit import Credit
from dpo_credit.shift import Shift

WIDTHS = (240, 480, 720, 1000)  # px of a chart, from which on more edits have their number: as style.css asks them
_DIGIT, _BETWEEN = 8, 5  # px of a digit of these numbers, and between two of them


def chart(credits: Sequence[Credit], aligned: Diff | None) -> dict[str, Any]:
    """Panels of lines in a box of 1000 by 100, ticks and bands in percent.

    Untouched tokens of a diff share their position; a panel of its own has the margin so far.
    """
    rewards = [[segment.reward for segment in credit.segments] for credit in credits]
    if aligned is None:
        sums = tuple(accumulate(rewards[0], initial=0.0))
        return {"panels": [_panel({"1": sums})], "bands": [], "width": len(sums) - 1}
    curves = cumulative(rewards[0], rewards[1], [(edit.chosen, edit.rejected) for edit in aligned.edits])
    width = len(curves.margin) - 1
    tiers = _tiers([(start + stop) / 2 / width for start, stop in curves.edits], [e.delta for e in aligned.edits])
    return {
        "panels": [_panel({"1": curves.chosen, "2": curves.rejected}), _panel({"3": curves.margin})],
        "bands": [
            (round(start / width * 100, 2), round((stop - start) / width * 100, 2), tier)
            for (start, stop), tier in zip(curves.edits, tiers, strict=True)
        ],
        "width": width,
    }


def divergences(credits: Sequence[Credit], shifts: Sequence[Shift], aligned: Diff | None) -> dict[str, Any]:
    """A panel with KL(policy || reference) summed up over the positions of `chart`, and where each answer ends."""
    kls = [
        [math.fsum(shift.kl[segment.start : segment.stop]) for segment in credit.segments]
        for credit, shift in zip(credits, shifts, strict=True)
    ]
    if aligned is None:
        sums = [tuple(accumulate(kls[0], initial=0.0))]
    else:
        curves = cumulative(kls[0], kls[1], [(edit.chosen, edit.rejected) for edit in aligned.edits])
        sums = [curves.chosen, curves.rejected]
    return {**_panel({str(n): line for n, line in enumerate(sums, 1)}), "totals": [line[-1] for line in sums]}


def _panel(curves: dict[str, Sequence[float]]) -> dict[str, Any]:
    low, high = min(map(min, curves.values())), max(map(max, curves.values()))
    room = (high - low) * 0.06 or 1.0

    def height(value: float) -> float:
        return round(100 * (high + room - value) / (high - low + 2 * room), 1)

    marks, decimals = ticks(low, high)
    return {
        "lines": {
            name: " ".join(f"{1000 * x / (len(curve) - 1):.0f},{height(y):g}" for x, y in enumerate(curve))
            for name, curve in curves.items()
        },
        "ticks": [(height(tick), tick) for tick in marks],
        "decimals": decimals,
    }


def _tiers(middles: Sequence[float], deltas: Sequence[float]) -> list[int | None]:
    """Which of `WIDTHS` a chart must have for each edit's number to touch no other; None if none is wide enough.

    What adds most to the margin has its number first; what has one in a narrow chart has it in all wider ones.

    Args:
        middles: of the edits, as shares of the width, ascending.
        deltas: one each.
    """
    tiers: list[int | None] = [None] * len(middles)
    numbered: list[int] = []  # ascending

    def fits(n: int, width: int) -> bool:
        place = bisect(numbered, n)
        digits = len(str(n + 1))
        return all(
            abs(middles[n] - middles[m]) * width >= (digits + len(str(m + 1))) / 2 * _DIGIT + _BETWEEN
            for m in numbered[max(0, place - 1) : place + 1]
        )

    order = sorted(range(len(middles)), key=lambda n: -abs(deltas[n]))
    for tier, width in enumerate(WIDTHS):
        for n in order:
            if tiers[n] is None and fits(n, width):
                tiers[n] = tier
                insort(numbered, n)
    return tiers


def ticks(low: float, high: float) -> tuple[list[float], int]:
    """Two to six round numbers from low to high, and the decimals that they need."""
    extent = high - low
    step = 10.0 ** math.floor(math.log10(extent)) if extent else 1.0
    step *= 0.5 if extent and extent / step < 2 else 2 if extent / step > 5 else 1
    marks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return marks, max(0, -math.floor(math.log10(step)))

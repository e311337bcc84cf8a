"""The places of a long answer that earned least and most, as links to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_credit.segments import Segment
from dpo_credit.views.page.stretches import Stretch
from dpo_credit.views.page.text import trimmed, visible

COUNT = 5  # at either end
_CONTEXT, _LONGEST = 24, 90  # characters beside a place, and of its own


def places(
    answers: Sequence[Sequence[Segment]], bounds: Sequence[Sequence[Stretch]], partners: Mapping[int, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lowest and the highest units of one or two answers, fewer where these would overlap.

    Of what both answers share, only the more extreme one is listed.

    Args:
        answers: their segments.
        bounds: the units of each, [start, stop) segments.
        partners: the segments of the second answer that the first has too, and where it has them.
    """
    shared = (set(partners.values()), set(partners))
    units: dict[tuple[int, int, int], tuple[float, int, Stretch]] = {}
    for n, (segments, its) in enumerate(zip(answers, bounds, strict=True)):
        for start, stop in its:
            common = shared[n].issuperset(range(start, stop))
            key = (0, partners[start] if n else start, stop - start) if common else (n + 1, start, stop)
            reward = math.fsum(segment.reward for segment in segments[start:stop])
            if key not in units or abs(reward) > abs(units[key][0]):
                units[key] = (reward, n, (start, stop))
    ordered = sorted(units.values(), key=lambda unit: unit[0])
    count = min(COUNT, len(ordered) // 2)
    ends = ordered[:count], ordered[::-1][:count]
    lowest, highest = ([_place(answers[n], n + 1, stretch, reward) for reward, n, stretch in end] for end in ends)
    return lowest, highest


def _place(segments: Sequence[Segment], number: int, stretch: Stretch, reward: float) -> dict[str, Any]:
    start, stop = stretch
    before, text, after = (
        "".join(s.text for s in part) for part in (segments[:start], segments[start:stop], segments[stop:])
    )
    shown = text or "".join(segment.piece for segment in segments[start:stop])
    own = visible(trimmed(shown))
    return {
        "answer": number,
        "token": segments[start].start + 1,
        "reward": reward,
        "before": "…" * (len(before) > _CONTEXT)
        + visible(before[-_CONTEXT:])
        + shown[: len(shown) - len(shown.lstrip())],
        "text": own if len(own) <= _LONGEST else own[: _LONGEST - 1] + "…",
        "after": shown[len(shown.rstrip()) :] + visible(after[:_CONTEXT]) + "…" * (len(after) > _CONTEXT),
    }

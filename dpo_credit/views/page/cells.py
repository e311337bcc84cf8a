"""An answer's shaded cells for the templates: tokens, words or sentences, and the edits that frame them."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

from dpo_credit.segments import Segment, Unit
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale

STEPS = 41  # shades from the lowest reward to the highest; the middle one is zero
Span = tuple[int, int, int]  # [start, stop) segments and the number of their edit
Part = tuple[str, list[int]]  # shown text and the numbers of the edits it is in


def cell_groups(
    segments: Sequence[Segment],
    bounds: list[tuple[int, int]],
    edits: list[Span],
    unit: Unit,
    scale: Scale,
    aside: Container[int] = (),
) -> list[dict[str, Any]]:
    """Runs of cells within the same edits. A sentence's cell holds its edits; tokens and words lie within theirs.

    Cells that begin with a segment of those `aside` are told apart from the others.
    """
    groups: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for start, stop in bounds:
        # an edit's frame and a cell's shade leave out the white space around them
        numbers = [] if unit == "sentence" else _edits_over(edits, start, stop)
        for empty in [] if unit == "sentence" else [k for a, b, k in edits if a == b == start]:
            groups.append({"numbers": [empty], "cells": [], "before": ""})
        if not groups or not groups[-1]["cells"] or groups[-1]["numbers"] != numbers:
            cells = []
            groups.append({"numbers": numbers, "cells": cells, "before": ""})
        cell = _cell(segments, (start, stop), edits if unit == "sentence" else [], scale)
        if start in aside:
            cell["class"] += " aside"
        if not start:
            cell["before"] = cell["before"].removeprefix(" ")  # no gap where the prompt ended
        if numbers and not cells:
            groups[-1]["before"], cell["before"] = cell["before"], ""
        cells.append(cell)
    return groups


def _cell(segments: Sequence[Segment], bounds: tuple[int, int], edits: list[Span], scale: Scale) -> dict[str, Any]:
    """What is shaded, as parts, between the white space around it; a line break alone gets a sign to be shaded."""
    start, stop = bounds
    reward = math.fsum(segment.reward for segment in segments[start:stop])
    end = "" if segments[start].text else " end"
    parts = cut_at_edits(segments, bounds, edits)
    whole = "".join(text for text, _ in parts)
    before = after = ""
    if not whole.strip():
        after = whole if "\n" in whole else ""
        parts = [("↵" if after else whole, [])]
    else:
        first, numbers = parts[0]
        before, parts[0] = first[: len(first) - len(first.lstrip())], (first.lstrip(), numbers)
        last, numbers = parts[-1]
        after, parts[-1] = last[len(last.rstrip()) :], (last.rstrip(), numbers)
    return {
        "before": before,
        "parts": parts,
        "after": after,
        "class": shade_class(reward, scale) + end,
        "reward": reward,
    }


def _edits_over(edits: list[Span], start: int, stop: int) -> list[int]:
    return [number for first, last, number in edits if first < stop and last > start]


def cut_at_edits(segments: Sequence[Segment], bounds: tuple[int, int], edits: list[Span]) -> list[Part]:
    """The shown text of a run of segments, cut where edits begin and end."""
    parts: list[Part] = []
    for n in range(*bounds):
        numbers = _edits_over(edits, n, n + 1)
        text = visible(segments[n].text or segments[n].piece)
        if parts and parts[-1][1] == numbers:
            text = parts.pop()[0] + text
        parts.append((text, numbers))
    return parts


def shade_class(reward: float, scale: Scale) -> str:
    if abs(reward) < scale.noise:
        return "n"
    return f"s{round((scale.position(reward) + 1) / 2 * (STEPS - 1))}"

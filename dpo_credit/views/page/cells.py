"""An answer's shaded cells for the templates: tokens, words or sentences, and the edits that frame them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dpo_credit.segments import Segment, Unit
from dpo_credit.views.page.stretches import FOLDED, ROWS, Stretch
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
    """Runs of cells within the same edits. A sentence's, line's or turn's cell holds its edits; others lie in theirs.

    Cells whose segments are all of those `aside` are told apart from the others.
    """
    groups: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for start, stop in bounds:
        # an edit's frame and a cell's shade leave out the white space around them
        numbers = [] if unit in ROWS else _edits_over(edits, start, stop)
        for empty in [] if unit in ROWS else [k for a, b, k in edits if a == b == start]:
            groups.append({"numbers": [empty], "cells": [], "before": "", "after": ""})
        if not groups or not groups[-1]["cells"] or groups[-1]["numbers"] != numbers:
            cells = []
            groups.append({"numbers": numbers, "cells": cells, "before": "", "after": ""})
        cell = _cell(segments, (start, stop), edits if unit in ROWS else [], scale)
        if all(n in aside for n in range(start, stop)):
            cell["class"] += " aside"
        if not start:
            cell["before"] = cell["before"].removeprefix(" ")  # no gap where the prompt ended
        if numbers and not cells:
            groups[-1]["before"], cell["before"] = cell["before"], ""
        cells.append(cell)
    for group in groups:
        if group["numbers"] and group["cells"]:
            last = group["cells"][-1]
            group["after"], last["after"] = last["after"], ""
    return groups


@dataclass(frozen=True, slots=True)
class Marked:
    """An answer's segments and what is marked of them: edits, what folds, fenced code, what is no assistant's."""

    segments: Sequence[Segment]
    edits: list[Span]
    folds: Sequence[Stretch] = ()
    code: Sequence[Stretch] = ()
    aside: Container[int] = ()


def cell_blocks(answer: Marked, bounds: list[Stretch], unit: Unit, scale: Scale) -> list[dict[str, Any]]:
    """`cell_groups` in what holds them: an open or folded stretch, of parts that are code or not."""
    inside = [_within(fold, bounds) for fold in answer.folds]
    blocks = []
    for fold, stretch in groupby(bounds, key=lambda cell: _index(inside, cell[0])):
        runs = groupby(stretch, key=lambda cell: _index(answer.code, _seen(answer.segments, cell)))
        parts = [
            {
                "code": code >= 0,
                "groups": cell_groups(answer.segments, list(run), answer.edits, unit, scale, answer.aside),
                "after": "",
            }
            for code, run in runs
        ]
        block: dict[str, Any] = {"fold": None, "parts": parts}
        if fold >= 0:
            segments = answer.segments[slice(*inside[fold])]
            block["fold"] = {
                "number": fold,
                "tokens": segments[-1].stop - segments[0].start,
                "sum": math.fsum(segment.reward for segment in segments),
            }
        blocks.append(block)
    _break_lines(blocks, rows=unit in ROWS)
    return blocks


def cells_of(blocks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All cells of what `cell_blocks` gives."""
    for block in blocks:
        for part in block["parts"]:
            for group in part["groups"]:
                yield from group["cells"]


def _within(fold: Stretch, bounds: Sequence[Stretch]) -> Stretch:
    """The whole cells of a fold; none where they are too few to fold."""
    cells = [(start, stop) for start, stop in bounds if fold[0] <= start and stop <= fold[1]]
    return (cells[0][0], cells[-1][1]) if cells and cells[-1][1] - cells[0][0] >= FOLDED else (0, 0)


def _index(stretches: Sequence[Stretch], segment: int) -> int:
    return next((n for n, (start, stop) in enumerate(stretches) if start <= segment < stop), -1)


def _seen(segments: Sequence[Segment], cell: Stretch) -> int:
    """The first segment of a cell that is more than white space."""
    return next((n for n in range(*cell) if segments[n].text.strip()), cell[0])


def _break_lines(blocks: Sequence[dict[str, Any]], *, rows: bool) -> None:
    """Move white space to where it does not break a line twice: blocks and rows begin on lines of their own.

    The last line break within a block is not seen; what follows it stands behind the block.
    """
    last: dict[str, Any] | None = None  # what has the white space before the cell
    for block in blocks:
        for part in block["parts"]:
            begins = True
            for group in part["groups"]:
                for cell in group["cells"]:
                    holder = group if group["numbers"] and cell is group["cells"][0] else cell
                    if last is not None and (rows or begins):
                        text = holder["before"]
                        # on the same line, or its indent
                        cut = text.rfind("\n") + 1 if "\n" in last["after"] + text else len(text)
                        last["after"], holder["before"] = last["after"] + text[:cut], text[cut:]
                    last = group if group["numbers"] and cell is group["cells"][-1] else cell
                    begins = False
            if last is not None and (part["code"] or block["fold"]):
                part["last"] = last
    for block in blocks:
        for part in block["parts"]:
            if "last" in part:
                first, line_break, part["after"] = part["last"]["after"].partition("\n")
                part["last"]["after"] = first + line_break


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
        texts = [n for n, (text, _) in enumerate(parts) if text]
        first, numbers = parts[texts[0]]
        before, parts[texts[0]] = first[: len(first) - len(first.lstrip())], (first.lstrip(), numbers)
        last, numbers = parts[texts[-1]]
        after, parts[texts[-1]] = last[len(last.rstrip()) :], (last.rstrip(), numbers)
    return {
        "before": before,
        "parts": parts,
        "after": after,
        "class": shade_class(reward, scale) + end,
        "shade": shade_class(reward, scale),
        "id": "",
        "start": start,
        "reward": reward,
    }


def _edits_over(edits: list[Span], start: int, stop: int) -> list[int]:
    return [number for first, last, number in edits if first < stop and last > start]


def cut_at_edits(segments: Sequence[Segment], bounds: tuple[int, int], edits: list[Span]) -> list[Part]:
    """The shown text of a run of segments, cut where edits begin and end; that of an edit without any is empty."""
    parts: list[Part] = []
    for n in range(*bounds):
        parts += [("", [number]) for start, stop, number in edits if start == stop == n]
        numbers = _edits_over(edits, n, n + 1)
        text = visible(segments[n].text or segments[n].piece)
        if parts and parts[-1][1] == numbers:
            text = parts.pop()[0] + text
        parts.append((text, numbers))
    return parts


def shade_class(reward: float, scale: Scale) -> str:
    if abs(reward) < scale.noise:
        return "n"
    return f"s{math.floor((scale.position(reward) + 1) / 2 * (STEPS - 1) + 0.5)}"  # as page.js rounds

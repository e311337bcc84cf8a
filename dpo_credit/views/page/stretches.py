"""How a long answer is laid out: its lines and turns, its fenced code, and what two answers share, which folds."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import get_args

from dpo_credit.align import Diff
from dpo_credit.segments import Segment, Unit, joined

UNITS: tuple[Unit, ...] = get_args(Unit)
ROWS = ("sentence", "line", "step", "turn")  # units that stand below each other, each with its sum beside it
LONG = 200  # tokens from which an answer is long
CONTEXT, FOLDED = 12, 40  # segments left beside an edit at least, and those that a fold has at least
Stretch = tuple[int, int]  # [start, stop) segments
_FENCE = re.compile(r"^[ \t]*(?:>[ \t]*)*(`{3,}|~{3,})(.*)$", re.MULTILINE)


def bounds_of(segments: tuple[Segment, ...], unit: Unit, roles: Sequence[str] = ()) -> list[Stretch]:
    """The segments of an answer's units; of turns by the `roles` of its tokens."""
    places = {segment.start: n for n, segment in enumerate(segments)} | {segments[-1].stop: len(segments)}
    return [(places[segment.start], places[segment.stop]) for segment in joined(segments, unit, roles)]


def code_blocks(segments: Sequence[Segment]) -> list[Stretch]:
    """The segments of each fenced code block of Markdown, with its fences; one that is not closed goes to the end."""
    text = "".join(segment.text for segment in segments)
    starts = [*accumulate((len(segment.text) for segment in segments), initial=0)]
    spans: list[tuple[int, int]] = []
    fence, begin = "", 0
    for match in _FENCE.finditer(text):
        if not fence and not (match[1][0] == "`" and "`" in match[2]):
            fence, begin = match[1], match.start()
        elif fence and match[1].startswith(fence) and not match[2].strip():
            spans.append((begin, match.end()))
            fence = ""
    if fence:
        spans.append((begin, len(text)))
    return [_whole(text, starts, span) for span in spans]


def _whole(text: str, starts: Sequence[int], span: tuple[int, int]) -> Stretch:
    """The segments of whole lines, with the line break behind them; one that begins on the line before is left out."""
    begin, end = span
    start = bisect_right(starts, begin) - 1
    if text[starts[start] : begin].strip():
        start += 1
    stop = bisect_left(starts, min(end + 1, len(text)))
    return start, max(start, stop)


def folds(diff: Diff, bounds: Mapping[Unit, Sequence[Stretch]]) -> tuple[list[Stretch], list[Stretch]]:
    """The stretches of both answers that fold: what they share, but for some context beside each edit.

    They begin and end at the end of a line where there is one near, or else at that of a sentence or a word.

    Args:
        diff: the answers.
        bounds: of the chosen answer, see `bounds_of`.
    """
    begins = [{start for start, _ in bounds[unit]} for unit in ("line", "sentence", "word")]
    end = len(bounds["token"])
    sides: tuple[list[Stretch], list[Stretch]] = ([], [])
    at = shift = 0  # where what is shared begins in the chosen answer, and how much later in the rejected one
    for edit, (start, stop) in [*((edit, edit.chosen) for edit in diff.edits), (None, (end, end))]:
        low = _nearest(begins, range(at + CONTEXT, min(at + 3 * CONTEXT, start) + 1))
        high = _nearest(begins, range(start - CONTEXT, max(start - 3 * CONTEXT, at) - 1, -1))
        if diff.edits and low is not None and high is not None and high - low >= FOLDED:
            sides[0].append((low, high))
            sides[1].append((low + shift, high + shift))
        if edit is not None:
            at, shift = stop, edit.rejected[1] - stop
    return sides


def _nearest(begins: Sequence[set[int]], places: range) -> int | None:
    return next((place for starts in begins for place in places if place in starts), None)

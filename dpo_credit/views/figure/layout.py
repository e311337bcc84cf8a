"""Cells that wrap like text: tokens become pieces, pieces of one or two answers become columns.

Lengths are points. Nothing here draws: `lines` sets the columns in lines, and `cells` draws them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dpo_credit.align import Diff
from dpo_credit.segments import Segment, Unit
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, Fonts, Run
from dpo_credit.views.figure.writing import JOINER, joined
from dpo_credit.views.look import Look, visible

_PARTS = re.compile(r"\n+|[^\S\n]+|\S+")
_SIGNS = {"\n": "↵", "\t": "⇥"}  # other white space: ␣
_WIDE = re.compile("([\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff])")
_LOOK = Look()
_PAD_PT = 0.8  # between a cell's edge and its text
_OUTLINE_PT = 2.2  # room for the outline around an edit
_SPACE = 1.2  # a word's distance to the next, in spaces: cells take some of it
_NARROWEST_PT = 4.0  # an edit, so that its outline is seen
_LONG = 0.4  # how long both sides of an edit's column are at least, as a share of the widest


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or part of one, of the segment `unit`; `gap` is the white space before it."""

    unit: int
    runs: tuple[Run, ...]
    width: float
    gap: float = 0.0
    may_start_line: bool = False
    ends_line: bool = False

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs if not run.boxed)


class TextRun(NamedTuple):
    """What differs: [start, stop) units of each answer."""

    chosen: tuple[int, int]
    rejected: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Column:
    """Pieces of each answer that stand above each other; `edit` is the number of the Stretch they belong to."""

    rows: tuple[tuple[Piece, ...], ...]
    edit: int | None = None
    room: float = 0.0  # for an outline, before it

    @property
    def text(self) -> str:
        """What one of the answers has there."""
        return next(("".join(piece.text for piece in row) for row in self.rows if row), "")

    @property
    def gap(self) -> float:
        return self.room + max((row[0].gap for row in self.rows if row), default=0.0)

    @property
    def width(self) -> float:
        return max(_NARROWEST_PT, *map(_extent, self.rows)) if self.edit is not None else _extent(self.rows[0])

    @property
    def may_start_line(self) -> bool:
        return any(row[0].may_start_line for row in self.rows if row)

    @property
    def ends_line(self) -> bool:
        return any(row[-1].ends_line for row in self.rows if row)

    @property
    def breaks_only(self) -> bool:
        return all(piece.ends_line for row in self.rows for piece in row)


def pieces(segments: Sequence[Segment], fonts: Fonts, size: float, limit: float) -> tuple[tuple[Piece, ...], ...]:
    """The pieces of every segment, none wider than `limit`."""
    space = _SPACE * fonts.width(" ", size)
    gap, previous = 0.0, ""  # white space that waits for its word, and the character before it
    units: list[tuple[Piece, ...]] = []
    for unit, (segment, text) in enumerate(zip(segments, joined([each.text for each in segments]), strict=True)):
        segment = segment._replace(text=text)
        made: list[Piece] = []
        if not segment.text:  # an end token
            gap, previous = space, ""
        for text, gap_before in _words(segment, space):
            gap += gap_before
            small = text[0] == "↵"
            for part in _fitting(text, fonts, max(MIN_SIZE_PT, 0.8 * size) if small else size, limit):
                runs, width = part
                may = bool(gap) or previous in ("", "␣") or _wide_meet(previous, runs[0].text[0])
                inside = 2 * _PAD_PT if made else 0.0  # within a cell, the text stands as close as without one
                made.append(Piece(unit, runs, width, gap - inside, may and not small, small))
                gap, previous = 0.0, runs[-1].text[-1]
        if made and segment.text and segment.text[-1].isspace() and not segment.text.isspace():
            trailing = segment.text[len(segment.text.rstrip()) :]
            gap += space * (len(trailing) if "\n" not in trailing else 0)
        units.append(tuple(made))
    return tuple(units)


def _words(segment: Segment, space: float) -> Iterator[tuple[str, float]]:
    """What is written for a segment, word by word, with the width of the white space before."""
    if not segment.text:
        yield visible(segment.piece, _LOOK).strip() or "∅", 0.0
        return
    shown, gap = visible(segment.text, _LOOK), 0.0
    blank = shown.isspace()
    for part in _PARTS.findall(shown):
        if blank or part[0] == "\n":
            yield "".join(_SIGNS.get(char, "␣") for char in part), 0.0
            gap = 0.0
        elif part.isspace():
            gap = sum(4 * space if char == "\t" else space for char in part)
        else:
            yield part, gap
            gap = 0.0


def _fitting(text: str, fonts: Fonts, size: float, limit: float) -> Iterator[tuple[tuple[Run, ...], float]]:
    """The text's runs and their width, in as many parts as fit the limit; ideographs part anywhere."""
    limit -= 2 * _PAD_PT
    most = int(8 * limit / size)  # characters of which some may fit: measuring more is slow
    pending = [part for part in _WIDE.split(text) if part] if _WIDE.search(text) else [text]
    if len(text) < most and fonts.runs(text, size)[1] < limit / 4:
        pending = [text]
    while pending:
        part = pending.pop(0)
        runs, width = fonts.runs(part[:most], size)
        if len(part) > 1 and (width > limit or len(part) > most):
            fit = max(
                1, bisect_right(range(min(len(part), most)), limit, key=lambda n: fonts.runs(part[:n], size)[1]) - 1
            )
            pending[:0] = [part[:fit], part[fit:]]
        elif runs:
            left, right = (0.0 if cut else _PAD_PT for cut in (part.endswith(JOINER), part.startswith(JOINER)))
            yield tuple(run._replace(x=run.x + left) for run in runs), left + width + right


def _wide_meet(before: str, after: str) -> bool:
    """Whether a line may break between two characters that no white space parts, as between ideographs."""
    wide = any(unicodedata.east_asian_width(char) in "WF" for char in before + after)
    return wide and unicodedata.category(after) not in ("Pe", "Pf", "Po") and unicodedata.category(before) != "Ps"


def stretches(diff: Diff, unit: Unit) -> tuple[tuple[TextRun, ...], tuple[tuple[int, int], ...]]:
    """What differs, in units (words, say), and the untouched pairs of units; see `Diff.units`."""
    edits, pairs = diff.units(unit)
    return tuple(TextRun(*edit) for edit in edits), pairs


Units = Sequence[Sequence[Piece]]


def columns(units: Units) -> list[Column]:
    """One answer's columns."""
    return [Column(((piece,),)) for unit in units for piece in unit]


def aligned_columns(
    chosen: Units, rejected: Units, edits: Sequence[TextRun], pairs: Sequence[tuple[int, int]], limit: float
) -> list[Column]:
    """Two answers' columns: an untouched unit stands above itself, an edit beside what it replaced."""
    made: list[tuple[int, list[Column]]] = []  # with the place in the chosen answer, and an edit before what follows it
    for i, j in pairs:
        made.append((2 * i + 1, [Column(((p,), (q,))) for p, q in zip(chosen[i], rejected[j], strict=True)]))
    for number, edit in enumerate(edits):
        sides = [
            [piece for unit in side[start:stop] for piece in unit]
            for side, (start, stop) in ((chosen, edit.chosen), (rejected, edit.rejected))
        ]
        made.append((2 * edit.chosen[0], list(_edit_columns(sides[0], sides[1], number, limit))))
    ordered = [column for _, group in sorted(made, key=lambda item: item[0]) for column in group]
    return [
        column
        if before.edit == column.edit
        else replace(column, room=_OUTLINE_PT * (1 + (None not in (before.edit, column.edit))))
        for before, column in zip([Column(((),)), *ordered], ordered, strict=False)
    ]


def _edit_columns(chosen: list[Piece], rejected: list[Piece], number: int, limit: float) -> Iterator[Column]:
    """Both sides of an edit, cut between words where they are about as long: there a line may end on both."""
    a = b = 0
    while a < len(chosen) or b < len(rejected):
        next_a, next_b = _even_cut((chosen[a:], rejected[b:]), limit)
        yield Column((tuple(chosen[a : a + next_a]), tuple(rejected[b : b + next_b])), number)
        a, b = a + next_a, b + next_b


def _even_cut(sides: tuple[list[Piece], list[Piece]], limit: float) -> tuple[int, int]:
    """How many pieces of each side make a column: no wider than the limit (but one piece), no more than a line."""
    cut = [0, 0]
    extents = [0.0, 0.0]
    best, best_off, between_words = None, math.inf, None

    def ended(side: int) -> bool:
        pieces, stop = sides[side], cut[side]
        return stop == len(pieces) or (stop > 0 and pieces[stop - 1].ends_line and not pieces[stop].ends_line)

    while not all(map(ended, (0, 1))):
        side = min((s for s in (0, 1) if not ended(s)), key=lambda s: extents[s])
        piece = sides[side][cut[side]]
        wider = extents[side] + piece.width + (piece.gap if cut[side] else 0.0)
        if wider > limit and any(cut):
            return best or between_words or (cut[0], cut[1])
        extents[side] = wider
        cut[side] += 1
        if all(ended(s) or sides[s][cut[s]].may_start_line for s in (0, 1)):
            if not all(sides):
                break  # beside nothing, every word is a column
            between_words = (cut[0], cut[1])
            off = abs(extents[0] - extents[1])
            if min(extents) > _LONG * limit and off <= best_off:
                best, best_off = between_words, off
    return cut[0], cut[1]


def _extent(row: Sequence[Piece]) -> float:
    return sum(piece.width + (piece.gap if n else 0) for n, piece in enumerate(row))

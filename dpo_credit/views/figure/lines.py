"""Columns of cells set in lines, from left to right or from right to left. Lengths are points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dpo_credit.views.figure.layout import Column, Piece
from dpo_credit.views.figure.writing import from_the_left, levels


class Placed(NamedTuple):
    """A piece on its line, from `x` on; `leftward` where that runs from right to left."""

    piece: Piece
    row: int
    line: int
    x: float
    leftward: bool = False


class Box(NamedTuple):
    """The extent of an edit on one line, the same for both answers."""

    edit: int
    line: int
    left: float
    right: float

    def holds(self, item: Placed) -> bool:
        return item.line == self.line and self.left <= item.x < self.right


def wrap(columns: Sequence[Column], width: float, *, leftward: bool = False) -> tuple[list[Placed], list[Box], int]:
    """Set the columns in lines: where each piece and each edit stands, and how many lines there are.

    Lines that run `leftward` begin at the right end of the width.
    """
    placed: list[Placed] = []
    boxes: list[Box] = []
    lines = _lines(columns, width)
    for line, members in enumerate(lines):
        parts = [_Part(column.text, column.width, column.gap - column.room, column.room) for column in members]
        for column, (x, turned) in zip(members, _places(parts, width, leftward=leftward), strict=True):
            placed += _placed(column, line, x, leftward=leftward or turned)
            if column.edit is not None:
                box = Box(column.edit, line, x, x + column.width)
                if boxes and boxes[-1][:2] == box[:2]:
                    last = boxes.pop()
                    box = box._replace(left=min(last.left, box.left), right=max(last.right, box.right))
                boxes.append(box)
    return placed, boxes, len(lines)


def _placed(column: Column, line: int, x: float, *, leftward: bool) -> Iterator[Placed]:
    for row, members in enumerate(column.rows):
        parts = [_Part(piece.text, piece.width, piece.gap) for piece in members]
        for piece, (at, _) in zip(members, _places(parts, column.width, leftward=leftward), strict=True):
            yield Placed(piece, row, line, x + at, leftward)


def _lines(columns: Sequence[Column], width: float) -> list[list[Column]]:
    lines: list[list[Column]] = [[]]
    x = 0.0
    for group in unbroken(columns):
        whole = sum(column.gap + column.width for column in group)
        for n, column in enumerate(group):
            if x and x + (column.gap + column.width if n else whole) > width:
                lines.append([])
                x = 0.0
            x += (column.gap if x else 0.0) + column.width
            lines[-1].append(column)
        if group[-1].ends_line:
            lines.append([])
            x = 0.0
    return lines if lines[-1] else lines[:-1]


def unbroken(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """Columns that stay on one line where they fit: those of a word, and the breaks of blank lines after a line's."""
    group: list[Column] = []
    for column in columns:
        if group and (column.may_start_line or (group[-1].ends_line and not column.breaks_only)):
            yield group
            group = []
        group.append(column)
    if group:
        yield group


class _Part(NamedTuple):
    """What is set on a line: its text and width, after white space and after `room` for what is drawn around it."""

    text: str
    width: float
    space: float
    room: float = 0.0


def _places(parts: Sequence[_Part], width: float, *, leftward: bool) -> list[tuple[float, bool]]:
    """Where each part of a line stands, from the left, and whether it runs leftward.

    Args:
        parts: in reading order; what stands before the first is left out.
        width: of the line, whose right end a leftward one begins at.
        leftward: whether the line runs from right to left.
    """
    items: list[tuple[int, str, float]] = []  # a part's number, or -1 for what stands between two; its text; its width
    for n, part in enumerate(parts):
        if n and part.space > 0:
            items.append((-1, " ", part.space))
        if n and (room := part.room + min(part.space, 0.0)):
            items.append((-1, "", room))
        items.append((n, part.text, part.width))
    written = [at for at, (n, text, _) in enumerate(items) if n >= 0 or text]
    depth = dict(zip(written, levels([items[at][1] for at in written], leftward=leftward), strict=True))
    depths = [depth[at] if at in depth else min(depth[at - 1], depth[at + 1]) for at in range(len(items))]
    places = [(0.0, False)] * len(parts)
    x = width - sum(wide for _, _, wide in items) if leftward else 0.0
    for at in from_the_left(depths):
        n, _, wide = items[at]
        if n >= 0:
            places[n] = x, depths[at] % 2 == 1
        x += wide
    return places

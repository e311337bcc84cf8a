"""Tables of numbers in the terminal: names and headings are folded where there is no room, numbers are not."""

from __future__ import annotations

from rich.cells import cell_len
from rich.table import Table

from dpo_credit.views.look import Look

_PADDING = 2  # columns between cells
_NAME = 8  # columns that a name needs


def table(*headings: str) -> Table:
    """A table without lines: what rows are called on the left, and numbers on the right."""
    made = Table(box=None, padding=(0, _PADDING, 0, 0), pad_edge=False)
    for n, heading in enumerate(headings):
        made.add_column(heading, justify="right" if n else "left", overflow="fold")
    return made


def whole(made: Table, look: Look) -> Table:
    """The table with each number on one line, where the terminal has the columns for that."""
    cells = [max((_width(cell) for cell in column.cells), default=0) for column in made.columns]
    room = look.width - _PADDING * (len(cells) - 1)
    if sum(max(cell, _width(column.header)) for cell, column in zip(cells, made.columns, strict=True)) <= room:
        return made
    headings = [max(map(cell_len, str(column.header).split()), default=0) for column in made.columns]
    numbers = [max(pair) for pair in zip(cells[1:], headings[1:], strict=True)]
    if (left := room - sum(numbers)) >= _NAME:
        for column, width in zip(made.columns, (min(left, max(cells[0], headings[0])), *numbers), strict=True):
            column.width = width
    return made


def _width(cell: object) -> int:
    return max(map(cell_len, str(cell).splitlines()), default=0)

"""Tokens as cells in lines, shaded by reward: one answer, or two with each untouched token above itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dpo_credit.credit import Credit
from dpo_credit.segments import Segment
from dpo_credit.views.figure.chart import colours, fixed
from dpo_credit.views.figure.folding import Block, Fold
from dpo_credit.views.figure.fonts import BOX_PAD_PT, MIN_SIZE_PT
from dpo_credit.views.figure.layout import Column
from dpo_credit.views.figure.lines import Placed, wrap
from dpo_credit.views.figure.sheet import INK, MARGIN_PT, MUTED, Sheet, write
from dpo_credit.views.figure.writing import turned
from dpo_credit.views.look import Look, direction
from dpo_credit.views.scale import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOK = Look()
# in font sizes: a cell's height, the gap between the rows of one line, and the room for the numbers of edits above
_CELL, _BETWEEN, _ABOVE, _ABOVE_ONE = 1.5, 0.55, 1.3, 0.35
_EDGE: dict[str, Any] = {"linewidth": 0.35, "edgecolor": "#c9c9c9"}
_FOLDED, _FOLD_PAD_PT = "#f1f1f3", 4.0
_OUTLINE_PT = 1.1  # between an edit's cells and its outline
# under rewards below zero: strong ones, and those too faint to tell their colour
_LINE: dict[str, Any] = {"linewidth": 0.8, "solid_capstyle": "butt"}
_HAIR: dict[str, Any] = {"linewidth": 0.4, "solid_capstyle": "butt", "color": "#606060"}


class AnswerCells(NamedTuple):
    """What is drawn of an answer: its tokens, words or sentences, with the `values` that have a colour on a scale."""

    credit: Credit
    units: tuple[Segment, ...]
    values: tuple[float, ...]
    scale: Scale
    label: str


def gutter(sheet: Sheet, names: Sequence[str]) -> float:
    """Room for the names before each row."""
    width = max((sheet.fonts.width(name, MIN_SIZE_PT) for name in names), default=0.0)
    return width + 6 if width else 0.0


def draw_cells(
    sheet: Sheet,
    answers: Sequence[AnswerCells],
    blocks: Sequence[Block],
    *,
    names: Sequence[str] = (),
    outlined: bool,
) -> None:
    """Add the cells to the sheet, with outlines or tight and the edits underlined, and rows for what is folded."""
    lines = 0
    for number, block in enumerate(blocks, start=1):
        if isinstance(block, Fold):
            _add_fold(sheet, answers, block, f"fold{number}", names=names)
        else:
            lines += _add_lines(sheet, answers, block, lines, names=names, outlined=outlined)
    sheet.add(0.8 * sheet.size)


def _add_lines(
    sheet: Sheet,
    answers: Sequence[AnswerCells],
    columns: Sequence[Column],
    before: int,
    *,
    names: Sequence[str],
    outlined: bool,
) -> int:
    """Add lines of cells, which `before` other lines stand above; how many there are."""
    left = MARGIN_PT + gutter(sheet, names)
    leftward = direction(answers[0].credit.tokens.answer) == "rtl"
    placed, boxes, lines = wrap(columns, sheet.width - MARGIN_PT - left, leftward=leftward)
    size = sheet.size
    above = size * (_ABOVE if boxes else _ABOVE_ONE if len(answers) == 1 else 2 * _ABOVE_ONE)
    pitch = above + size * (len(answers) * _CELL + (len(answers) - 1) * _BETWEEN)

    def draw(axes: Axes, y: float) -> None:
        def top(line: int, row: int) -> float:
            return y + line * pitch + above + row * size * (_CELL + _BETWEEN)

        for line in range(lines):
            for row, name in enumerate(names):
                baseline = top(line, row) + 0.68 * _CELL * size
                write(axes, MARGIN_PT, baseline, name, sheet.fonts, MIN_SIZE_PT, colour=MUTED)
        for (row, line, _), cell in groupby(sorted(placed, key=_cell_of), key=_cell_of):
            origin = (left, top(line, row))
            _draw_cell(axes, sheet, list(cell), answers[row], origin, _EDGE if outlined else {"linewidth": 0})
        numbered: set[int] = set()
        for box in boxes:
            for row in range(len(answers)):
                dashes: Literal["-", "--"] = "-" if any(box.holds(item) for item in placed if item.row == row) else "--"
                rectangle = (left + box.left, top(box.line, row), box.right - box.left, _CELL * size)
                name = f"edit{box.edit + 1}a{row + 1}l{before + box.line + 1}"
                _draw_edit(axes, rectangle, name, dashes, outlined=outlined)
            if box.edit not in numbered:
                numbered.add(box.edit)
                baseline = top(box.line, 0) - 2.8
                write(axes, left + box.left - 1, baseline, str(box.edit + 1), sheet.fonts, MIN_SIZE_PT)

    sheet.add(lines * pitch, draw)
    return lines


def _add_fold(sheet: Sheet, answers: Sequence[AnswerCells], fold: Fold, name: str, *, names: Sequence[str]) -> None:
    """Add a row for each answer that says what of it is left out, and the sum of what would have been coloured."""
    from matplotlib.patches import Rectangle

    left = MARGIN_PT + gutter(sheet, names)
    width = sheet.width - MARGIN_PT - left
    above, height = 0.5 * sheet.size, 1.5 * MIN_SIZE_PT
    pitch = height + 1
    texts = []
    for answer, units, tokens in zip(answers, fold.units, fold.tokens, strict=True):
        quantity = "Δ" if answer.scale.quantity == "delta" else "reward"
        total = fixed(math.fsum(answer.values[n] for n in units), answer.scale.decimals)
        counted = f"{tokens} token{'s' * (tokens > 1)}, {quantity} {total}" if tokens else "nothing"
        texts.append(f"… {counted} …")
    if fold.edits:
        first, last = fold.edits[0] + 1, fold.edits[-1] + 1
        texts[0] += f" edit {first}" if first == last else f" edits {first} to {last}"

    def draw(axes: Axes, y: float) -> None:
        for row, text in enumerate(texts):
            top = y + above + row * pitch
            baseline = top + 0.72 * height
            band = Rectangle((left, top), width, height, facecolor=_FOLDED, linewidth=0, gid=f"{name}a{row + 1}")
            axes.add_artist(band)
            shown = sheet.cut(text, MIN_SIZE_PT, width - 2 * _FOLD_PAD_PT)
            write(axes, left + _FOLD_PAD_PT, baseline, shown, sheet.fonts, MIN_SIZE_PT, colour=MUTED)
            if names:
                write(axes, MARGIN_PT, baseline, names[row], sheet.fonts, MIN_SIZE_PT, colour=MUTED)

    sheet.add(above + len(texts) * pitch, draw)


def _cell_of(item: Placed) -> tuple[int, int, int]:
    """Pieces of one token (word, sentence) on one line share a cell."""
    return item.row, item.line, item.piece.unit


def _draw_cell(
    axes: Axes,
    sheet: Sheet,
    items: Sequence[Placed],
    answer: AnswerCells,
    origin: tuple[float, float],
    edge: dict[str, Any],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    left, top = origin
    height = _CELL * sheet.size
    row, _, unit = _cell_of(items[0])
    value = answer.values[unit]
    face, ink = colours(answer.scale, value)
    x0, x1 = left + min(item.x for item in items), left + max(item.x + item.piece.width for item in items)
    name = f"a{row + 1}t{unit + 1}"
    axes.add_artist(Rectangle((x0, top), x1 - x0, height, facecolor=face, gid=name, **edge))
    if answer.scale.position(value) < 0:
        pen = _LINE if answer.scale.strength(value) else _HAIR
        axes.add_artist(
            Line2D((x0 + 0.8, x1 - 0.8), (top + height - 1.7,) * 2, gid=f"{name}-below", **{"color": ink, **pen})
        )
    for item in items:
        for run in item.piece.runs:
            x = left + item.x + run.x
            if run.boxed:
                width = sheet.fonts.width(run.text, run.size) + 2 * BOX_PAD_PT
                box = Rectangle((x, top + 1.8), width, height - 4.4, fill=False, edgecolor=ink, linewidth=0.5)
                axes.add_artist(box)
            shift = BOX_PAD_PT if run.boxed else 0.0
            text = turned(run.text, leftward=item.leftward)
            write(axes, x + shift, top + 0.69 * height, text, sheet.fonts, run.size, colour=ink)


def _draw_edit(
    axes: Axes,
    rectangle: tuple[float, float, float, float],
    name: str,
    dashes: Literal["-", "--"],
    *,
    outlined: bool,
) -> None:
    """An outline around an edit, or a line below it; dashed where this answer has nothing there."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    x, y, width, height = rectangle
    if outlined:
        grown = (width + 2 * _OUTLINE_PT, height + 2 * _OUTLINE_PT)
        corner = (x - _OUTLINE_PT, y - _OUTLINE_PT)
        axes.add_artist(Rectangle(corner, *grown, fill=False, edgecolor=INK, linewidth=0.9, linestyle=dashes, gid=name))
    else:
        ends = ((x, x + width), (y + height + 1.4,) * 2)
        axes.add_artist(Line2D(*ends, color=INK, linewidth=1.2, linestyle=dashes, solid_capstyle="butt", gid=name))

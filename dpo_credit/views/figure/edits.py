"""The table of a diff's edits: what both sides of each earned, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dpo_credit.segments import Segment
from dpo_credit.views.figure.cells import LOOK, AnswerCells
from dpo_credit.views.figure.chart import fixed
from dpo_credit.views.figure.layout import TextRun
from dpo_credit.views.figure.sheet import Sheet
from dpo_credit.views.look import visible

_LISTED_EDITS = 8  # listed with their rewards, those with the largest deltas
_NOTHING = "(nothing)"


def list_edits(sheet: Sheet, answers: Sequence[AnswerCells], edits: Sequence[TextRun], names: Sequence[str]) -> None:
    """The edits with the largest deltas: texts and rewards on both sides; with the rest, they add up to the margin."""
    rows = []
    for number, edit in enumerate(edits, start=1):
        sides = [answer.units[start:stop] for answer, (start, stop) in zip(answers, edit, strict=True)]
        ours, theirs = (math.fsum(unit.reward for unit in side) for side in sides)
        rows.append(_Row(str(number), _one_line(sides[0]), ours, _one_line(sides[1]), theirs))
    listed_rows = sorted(rows, key=lambda row: -abs(row.delta))[:_LISTED_EDITS]
    table = [row for row in rows if row in listed_rows]
    others = [row for row in rows if row not in listed_rows]
    totals = [answer.credit.reward for answer in answers]
    if others:
        ours, theirs = math.fsum(row.ours for row in others), math.fsum(row.theirs for row in others)
        table.append(_Row("", f"{len(others)} more edit{'s' * (len(others) > 1)}", ours, "", theirs))
    if rows:
        ours = totals[0] - math.fsum(row.ours for row in rows)
        theirs = totals[1] - math.fsum(row.theirs for row in rows)
        table.append(_Row("", "untouched", ours, "", theirs))
    table.append(_Row("", "total", totals[0], "", totals[1]))
    decimals = answers[0].scale.decimals
    sheet.add_table(
        [("", names[0], "reward", names[1], "reward", "Δ"), *(row.cells(decimals) for row in table)],
        stretch=(1, 3),
        bold=(0, len(table)),
    )


class _Row(NamedTuple):
    number: str
    text: str
    ours: float
    other_text: str
    theirs: float

    @property
    def delta(self) -> float:
        return self.ours - self.theirs

    def cells(self, decimals: int) -> tuple[str, ...]:
        ours, theirs, delta = (fixed(value, decimals) for value in (self.ours, self.theirs, self.delta))
        shown = ("" if text == _NOTHING else reward for text, reward in ((self.text, ours), (self.other_text, theirs)))
        return self.number, self.text, next(shown), self.other_text, next(shown), delta


def _one_line(units: Sequence[Segment]) -> str:
    text = "".join(unit.text or unit.piece for unit in units)
    return " ".join(visible(text, LOOK).split()) or (repr(text) if units else _NOTHING)

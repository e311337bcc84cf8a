"""What a notebook's cell shows of a result: an answer, two that were compared, a row, or a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from dpo_credit.align import Diff
from dpo_credit.credit import Credit, margin
from dpo_credit.report.wording import short
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.frame import environment
from dpo_credit.views.page.score import fragment
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Shading

_EDITS = 8  # of a diff that are listed
_ROWS = 10  # of a data set, likewise
_WORDS = 60  # characters of an edit or of an answer's beginning


def cell(result: object) -> str:
    """A result as self-contained HTML.

    Args:
        result: a `Credit`, a `Diff`, a `ScoredRow`, or a sequence of these rows.

    Raises:
        CreditError: two answers do not compare.
    """
    if isinstance(result, Credit):
        return fragment(result)
    if isinstance(result, Diff):
        return _diff(result, ("chosen", "rejected"))
    if isinstance(result, ScoredRow):
        return _row(result)
    assert isinstance(result, Sequence)
    return _dataset(result)


def _diff(diff: Diff, labels: Sequence[str]) -> str:
    credits = (diff.chosen, diff.rejected)
    scales = Shading().scales(credits)
    places = ([edit.chosen for edit in diff.edits], [edit.rejected for edit in diff.edits])
    edited = [{n for start, stop in spans for n in range(start, stop)} for spans in places]
    answers = [
        (visible(label), Markup(fragment(credit, scale, framed)))
        for label, credit, scale, framed in zip(labels, credits, scales, edited, strict=True)
    ]
    largest = sorted(diff.edits, key=lambda edit: -abs(edit.delta))[:_EDITS]
    edits = [
        {"texts": [_words(edit.chosen_text), _words(edit.rejected_text)], "delta": edit.delta}
        for edit in diff.edits
        if edit in largest
    ]
    sums = {"edits": math.fsum(edit.delta for edit in diff.edits), "more": len(diff.edits) - len(edits)}
    return _render("diff", diff=diff, answers=answers, edits=edits, sums=sums, decimals=scales[0].decimals)


def _row(row: ScoredRow) -> str:
    if row.kind == "preference":
        return _diff(row.diff, row.labels)
    scales = Shading().scales(row.credits)
    answers = [
        (visible(label), Markup(fragment(credit, scale)))
        for label, credit, scale in zip(row.labels, row.credits, scales, strict=True)
    ]
    return _render("row", answers=answers)


def _dataset(rows: Sequence[ScoredRow]) -> str:
    """Its figures in a line, and the rows with the lowest margins (or rewards), each of which unfolds."""
    values = [_value(row) for row in rows]
    lowest = sorted(range(len(rows)), key=values.__getitem__)[:_ROWS]
    shown = [
        {
            "id": visible(rows[n].id),
            "value": values[n],
            "text": _words(rows[n].credits[0].tokens.answer),
            "drawn": Markup(_row(rows[n])),
        }
        for n in lowest
    ]
    margins = [value for value, row in zip(values, rows, strict=True) if row.kind == "preference"]
    figures: dict[str, Any] = {
        "rows": len(rows),
        "answers": sum(len(row.credits) for row in rows),
        "pairs": len(margins),
        "right": sum(value > 0 for value in margins),
        "mean": math.fsum(values) / len(values) if values else 0.0,
        "set_aside": len(getattr(rows, "set_aside", ())),
    }
    return _render("dataset", figures=figures, shown=shown)


def _value(row: ScoredRow) -> float:
    if row.kind == "preference":
        return margin(*row.credits)
    return math.fsum(credit.reward for credit in row.credits) / len(row.credits)


def _words(text: str) -> str:
    return visible(short(text, _WORDS)) or "∅"


def _render(macro: str, **values: Any) -> str:
    return environment().get_template("notebook.html").render(kind=macro, **values)

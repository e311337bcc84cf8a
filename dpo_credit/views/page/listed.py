"""A data set's rows as a table that a reader sorts, filters and searches: small numbers and texts, a line a row."""

from __future__ import annotations

import math
from typing import Any

from dpo_credit.credit import Credit
from dpo_credit.report.ends import class_parts, first_words, place_of
from dpo_credit.report.figures import Report
from dpo_credit.report.wording import place_name
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.frame import writing
from dpo_credit.views.page.text import visible

_ROWS = 5000  # in one table
_TOKENS = 2_000_000  # of all its rows: some 25 MB of the page


def step(report: Report) -> int:
    """Which rows are listed beside those at the ends: every one, every second, and so on."""
    return max(1, math.ceil(report.rows / _ROWS), math.ceil(report.tokens / _TOKENS))


def listed(row: ScoredRow, value: float, report: Report) -> dict[str, Any]:
    """A row of the table, and what the script needs of it.

    Args:
        row: what was scored.
        value: its margin, or the mean reward of what is no preference.
        report: of all rows.
    """
    lengths = [len(credit.rewards) for credit in row.credits]
    classes = [kind.name for kind in report.classes]
    return {
        "place": (row.row.source, row.row.line),
        "name": visible(place_name(place_of(row), report)),
        "prompt": visible(first_words(row.row)),
        "value": value,
        "tokens": lengths if row.kind == "preference" else [max(lengths)],
        "parts": [None if part is None else float(f"{part:.4g}") for part in class_parts(row, classes)],
        "data": [visible(row.prompt), *map(_text, row.credits, row.labels)],
    }


def _text(credit: Credit, label: str) -> tuple[str, list[str], list[float], bool]:
    """An answer: what it is called, its pieces of text, what each earned, and whether its letters touch."""
    segments = credit.segments
    texts = [visible(segment.text or segment.piece) for segment in segments]
    rewards = [float(f"{segment.reward:.3g}") for segment in segments]
    return visible(label), texts, rewards, writing(credit.tokens.answer)["joined"]

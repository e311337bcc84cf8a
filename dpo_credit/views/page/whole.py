"""Any result as the page that shows it whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_credit.align import Diff
from dpo_credit.credit import Credit, CreditError
from dpo_credit.report.figures import Report
from dpo_credit.rows.records import Row, labels_of
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page import localise, report, score
from dpo_credit.views.scale import Shading

if TYPE_CHECKING:
    from dpo_credit.localise.localise import Localised


def page(
    result: Credit | Diff | ScoredRow | Sequence[ScoredRow] | Report | Localised,
    rows: Sequence[ScoredRow] = (),
    *,
    title: str = "dpo-credit",
    shading: Shading = Shading(),
) -> str:
    """One self-contained HTML page, the one that the program's `--html` writes.

    Args:
        result: an answer, two that were compared, a scored row or many, a report, or what `localise` found.
        rows: of a report, the rows that it is on.
        title: of a page of answers.
        shading: likewise, how it colours.

    Raises:
        CreditError: there is nothing to show, two answers do not compare, or a report's rows are missing.
    """
    if isinstance(result, Report):
        if not rows:
            raise CreditError("the page of a report shows rows too: page(report, rows), with the rows it is on.")
        return report.render(result, rows)
    if isinstance(result, Credit):
        result = ScoredRow(Row(result.id, "single", labels=labels_of("single", 1)), (result,))
    if isinstance(result, Diff):
        credits = (result.chosen, result.rejected)
        result = ScoredRow(Row("", "preference", labels=labels_of("preference", 2)), credits)
    if isinstance(result, ScoredRow):
        result = [result]
    if isinstance(result, Sequence):
        return score.render(result, shading, title)
    return localise.render(result)

"""One post searched: its answers as a scored row, and what a judge says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpo_credit.credit import Credit
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.chats import Prompt, prompt_text
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.scoring import score
from dpo_credit.search.judges import Contest, Judge, Verdict
from dpo_credit.search.search import Beams
from dpo_credit.text.conventions import Conventions


def answered(row: Row, credits: Sequence[Credit], beams: Beams) -> ScoredRow:
    """The answers that were found as a row of their own, named by their numbers of beams."""
    labels = tuple(f"{width} beam{'s' if width > 1 else ''}" for width in beams.widths)
    return ScoredRow(Row(credits[0].id, "list", labels=labels, prompt=row.prompt), tuple(credits))


def chosen_of(pair: ModelPair, row: Row, conventions: Conventions) -> Credit | None:
    """The chosen answer to judge against, where the row has one.

    Raises:
        CreditError: it cannot be scored.
    """
    return next(score(pair, row.examples[:1], conventions=conventions)) if row.kind == "preference" else None


def judged(prompt: Prompt, credits: Sequence[Credit], chosen: Credit | None, judge: Judge) -> list[Verdict]:
    """What a judge says of each answer.

    Raises:
        CreditError: the judge does not answer, or has nothing to compare with.
    """
    text = prompt_text(prompt)
    return [judge(Contest(credit.id, text, credit, chosen)) for credit in credits]


def columns(beams: Beams, judge: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What the JSON of a searched post has beside the answers."""
    return {
        **{"beams": list(beams.widths), "length_penalty": beams.length_penalty, "drawn": beams.draw, "judge": judge},
        "verdicts": [{"win": verdict.win, "said": verdict.said} for verdict in verdicts],
    }

"""What each number of beams found: likelihood, reward and length, one line a width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dpo_credit.credit import Credit
from dpo_credit.search.judges import Verdict
from dpo_credit.views.look import Look, visible
from dpo_credit.views.terminal.colours import signed


def render(
    widths: Sequence[int], credits: Sequence[Credit], look: Look, *, verdicts: Sequence[Verdict], judge: str
) -> Table:
    """A table of `decode.search.search`'s answers; one found before is named by the width that found it."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("beams", justify="right")
    for heading in ("log π", "reward", "tokens"):
        table.add_column(look.plain(heading), justify="right", no_wrap=True)
    table.add_column(f"judge: {visible(judge, look)}", overflow="fold")
    table.add_column("answer", overflow="fold")
    first: dict[tuple[int, ...], int] = {}
    for width, credit, verdict in zip(widths, credits, verdicts, strict=True):
        before = first.setdefault(credit.tokens.answer_ids, width)
        text = visible(credit.tokens.answer.strip(), look) if before == width else f"as with {before}"
        logp = look.plain(f"{credit.policy_logp:.2f}".replace("-", "−"))
        count = str(len(credit.tokens.answer_ids))
        table.add_row(
            *(str(width), logp, signed(credit.reward, look), count, Text(visible(said(verdict), look))),
            Text(text, style="" if before == width else "dim"),
        )
    return table


def said(verdict: Verdict) -> str:
    """A verdict in words."""
    won = {None: "", 0.0: "loses: ", 0.5: "ties: ", 1.0: "wins: "}[verdict.win]
    return won + verdict.said

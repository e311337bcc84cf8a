"""Q*, V* and the advantage of every token as a table, with how well they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.credit import Credit, CreditError
from dpo_credit.optimal import OptimalValues, allowed
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.look import Look, visible
from dpo_credit.views.terminal.colours import signed

Shown = Literal["q", "v", "advantage"]
_HEADS = {"q": "Q*", "v": "V*", "advantage": "Q* − V*"}


def shown(asked: str) -> tuple[Shown, ...]:
    """What `--show` names, in its order.

    Raises:
        CreditError: something else is named, or nothing.
    """
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in names:
        if name not in get_args(Shown):
            raise CreditError(f"--show {asked}: {name!r} is none of {', '.join(get_args(Shown))}.")
    return names  # type: ignore[return-value]


def render(
    scored: ScoredRow,
    look: Look,
    columns: Sequence[Shown],
) -> RenderableType:
    """One table an answer: a row a token, its reward beside the columns asked for; then the two checks."""
    parts: list[RenderableType] = []
    for credit, values, label in zip(scored.credits, scored.values, scored.labels, strict=True):
        table = Table(box=None, pad_edge=False, title=label or None, title_justify="left", title_style="bold")
        table.add_column("token")
        for name in columns:
            table.add_column(look.plain(_HEADS[name]), justify="right")
        table.add_column("reward", justify="right")
        for t, piece in enumerate(credit.tokens.pieces):
            cells = [signed(getattr(values, name)[t], look, 3) for name in columns]
            table.add_row(Text(visible(piece, look)), *cells, signed(credit.rewards[t], look, 3))
        parts += [table, _checks(credit, values, look), Text()]
    note = (
        "Q* = beta × logit, V* = beta × logsumexp(logits), Q* − V* = beta × log π (Eqs. 5, 6). A constant of each "
        "state is free in Q* and V*; the model's own logits fix it here, so only differences within a state count."
    )
    return Group(*parts, Text(look.plain(note), style="dim"))


def _checks(credit: Credit, values: OptimalValues, look: Look) -> Text:
    token, answer = values.misfit(credit)
    limit = allowed(credit)
    fits = token <= limit and answer <= limit * len(values.q)
    text = (
        f"Eq. 10 holds for each token to {token:.1g}; V*(s0) + sum of rewards = sum of r to {answer:.1g}"
        if fits
        else f"WARNING: Eq. 10 is off by {token:.2g} at a token, its sum by {answer:.2g}; rounding explains {limit:.2g}"
    )
    return Text(look.plain(text), style="dim" if fits else "bold")

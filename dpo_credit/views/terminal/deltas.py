"""Deltas in the terminal: the tokens that make up the margin of two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.align import Diff
from dpo_credit.credit import Credit
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Segment, Unit
from dpo_credit.views.look import Look
from dpo_credit.views.scale import Scale, Shading
from dpo_credit.views.terminal.colours import signed
from dpo_credit.views.terminal.score import context, in_context, instead


def tables(scored: ScoredRow, look: Look, shading: Shading, rows: int) -> RenderableType:
    """The units that speak most for the first answer and most against it; a shared one stands there once."""
    scale, labels = shading.scales_of(scored)[0], scored.labels
    ordered = sorted(_shares(scored.diff, shading.unit), key=lambda share: -share.delta)
    parts: list[RenderableType] = []
    for side, picked in (
        ("for", [share for share in ordered if share.delta > 0]),
        ("against", [share for share in reversed(ordered) if share.delta < 0]),
    ):
        table = _table(picked[:rows], shading.unit, labels, scale, look)
        table.title = f"{shading.unit}s most {side} {labels[0]}"
        parts += [Text(), table]
        if scored.credits[0].policy_top:
            parts.append(instead([(share.credit, share.segment) for share in picked[:rows]], look))
    return Group(*parts[1:])


class _Share(NamedTuple):
    """A unit of an answer, its reward in the chosen and in the rejected one, and its delta."""

    credit: Credit
    segment: Segment
    chosen: float | None
    rejected: float | None
    delta: float


def _shares(diff: Diff, unit: Unit) -> list[_Share]:
    chosen, rejected = diff.chosen.by(unit), diff.rejected.by(unit)
    ours, theirs = diff.deltas(unit)
    partner = dict(diff.units(unit)[1])
    paired = set(partner.values())
    return [
        *(
            _Share(diff.chosen, segment, segment.reward, rejected[partner[i]].reward if i in partner else None, ours[i])
            for i, segment in enumerate(chosen)
        ),
        *(
            _Share(diff.rejected, segment, None, segment.reward, theirs[j])
            for j, segment in enumerate(rejected)
            if j not in paired
        ),
    ]


def _table(shares: Sequence[_Share], unit: Unit, labels: Sequence[str], scale: Scale, look: Look) -> Table:
    table = Table(title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    columns = context(look, 3 * 11 + 2)
    table.add_column(Text(unit, style="bold"), overflow="fold", min_width=columns, max_width=columns)
    for heading in (*(f"in {label}" for label in labels), "delta"):
        table.add_column(Text(heading), justify="right", overflow="ellipsis", no_wrap=True, min_width=9, max_width=16)
    for share in shares:
        rewards = ("" if reward is None else signed(reward, look, scale.decimals) for reward in share[2:4])
        table.add_row(
            in_context(share.credit, share.segment, scale, look, columns, value=share.delta),
            *rewards,
            Text(signed(share.delta, look, scale.decimals), style="bold" if scale.strength(share.delta) > 1 else ""),
        )
    if not shares:
        table.caption = "none"
    return table

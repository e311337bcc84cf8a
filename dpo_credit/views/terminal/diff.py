"""Two answers compared in the terminal: edits in brackets, what each earned, the echo, and where the rewards part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.align import Diff, Edit
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Shading, decimals_for
from dpo_credit.views.terminal.score import answer, comparison, in_text, legend, prompt_end, signed, sums, tables

_SIDE_BY_SIDE = 100  # columns from which the two answers stand beside each other
_EDITS = 12  # rows of the table of edits; the largest are kept
_BARS = "▁▂▃▄▅▆▇█"


def render(
    scored: ScoredRow,
    look: Look,
    *,
    rows: int | None = None,
    shading: Shading = Shading(),
) -> RenderableType:
    """Both answers, their edits and echo, margin and preference probability, cumulative rewards, lowest and highest."""
    diff, labels = scored.diff, scored.labels
    credits = (diff.chosen, diff.rejected)
    text = in_text(shading, look)
    scales = text.scales(credits)
    spans = ([edit.chosen_span for edit in diff.edits], [edit.rejected_span for edit in diff.edits])
    columns = [
        Group(Text(label, style="bold"), answer(credit, scale, look, text.unit, marked), sums(credit, look))
        for label, credit, scale, marked in zip(labels, credits, scales, spans, strict=True)
    ]
    parts: list[RenderableType] = [
        *prompt_end(scored.prompt, look),
        *_beside(columns, look),
        comparison(diff.chosen, diff.rejected, look, labels[0]),
        Text(),
    ]
    parts += [
        legend(scale, credit, look, text.unit)
        for scale, credit in list(zip(scales, credits, strict=True))[: len(set(scales))]
    ]
    parts += [Text(), edits(diff, look, labels), echo(diff, look), Text(), *chart(diff, look, labels)]
    for label, credit, scale in zip(labels, credits, shading.scales(credits), strict=True) if rows != 0 else ():
        parts += [Text(), tables(credit, scale, look, shading.unit, 5 if rows is None else rows, label)]
    return Group(*parts)


def edits(diff: Diff, look: Look, labels: Sequence[str]) -> RenderableType:
    """What was changed, and how much of the margin each change makes up."""
    if not diff.edits:
        return Text("no edits: the two answers are the same")
    decimals = _decimals(diff)
    table = Table(title="edits", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in labels:
        table.add_column(heading, overflow="fold")
        table.add_column("reward", justify="right", no_wrap=True)
    table.add_column("delta", justify="right", no_wrap=True)
    shown = sorted(diff.edits, key=lambda edit: -abs(edit.delta))[:_EDITS]
    for edit in sorted(shown, key=lambda edit: edit.chosen):
        table.add_row(*_row(edit, decimals, look))
    if len(diff.edits) > _EDITS:
        table.caption = f"the {_EDITS} largest of {len(diff.edits)}"
    return table


def _row(edit: Edit, decimals: int, look: Look) -> list[Text]:
    cells = []
    for text, reward in ((edit.chosen_text, edit.chosen_reward), (edit.rejected_text, edit.rejected_reward)):
        words = " ".join(visible(text, look).split())
        cells += [Text(words) if words else Text("(nothing)", style="dim"), Text(signed(reward, look, decimals))]
    return [*cells, Text(signed(edit.delta, look, decimals), style="bold")]


def echo(diff: Diff, look: Look) -> Text:
    """How far the untouched tokens after the first edit moved."""
    first = diff.edits[0].chosen[0] if diff.edits else math.inf
    count = sum(i >= first for i, _ in diff.pairs)
    moved = f"mean |Δ| {diff.echo_mean_abs:.2g}, max {diff.echo_max_abs:.2g}" if count else "none"
    return Text.assemble(
        ("echo ", "bold"), look.plain(f"on the {count} untouched tokens after the first edit: {moved}")
    )


def chart(diff: Diff, look: Look, labels: Sequence[str]) -> list[RenderableType]:
    """The cumulative reward of both answers over position, on one scale, with the edits marked below each."""
    curves = [list(accumulate(s.reward for s in credit.segments)) for credit in (diff.chosen, diff.rejected)]
    low, high = min(0.0, *map(min, curves)), max(0.0, *map(max, curves))
    name = max(map(len, labels)) + 2
    longest = max(map(len, curves))
    width = min(longest, max(8, look.width - name - 12))
    parts: list[RenderableType] = [
        Text.assemble(
            ("cumulative reward", "bold"), f" from {signed(low, look)} to {signed(high, look)}; ^ marks an edit"
        )
    ]
    sides = ([edit.chosen for edit in diff.edits], [edit.rejected for edit in diff.edits])
    for label, curve, spans in zip(labels, curves, sides, strict=True):
        places = [min(len(curve) - 1, n * longest // width) for n in range(width) if n * longest // width < len(curve)]
        height = (high - low) or 1.0
        bars = "".join(_BARS[round((curve[place] - low) / height * 7)] for place in places)
        stops = [*places[1:], len(curve)]
        marks = "".join(
            "^" if any(a < max(stop, place + 1) and place < max(b, a + 1) for a, b in spans) else " "
            for place, stop in zip(places, stops, strict=True)
        )
        parts += [Text(f"{label:{name}}{look.plain(bars)} {signed(curve[-1], look)}"), Text(" " * name + marks)]
    return parts


def _beside(columns: Sequence[RenderableType], look: Look) -> list[RenderableType]:
    if look.width < _SIDE_BY_SIDE:
        return [part for column in columns for part in (column, Text())]
    grid = Table.grid(expand=True, padding=(0, 3, 0, 0))
    for _ in columns:
        grid.add_column(ratio=1)
    grid.add_row(*columns)
    return [grid, Text()]


def _decimals(diff: Diff) -> int:
    largest = max(max(abs(edit.chosen_reward), abs(edit.rejected_reward), abs(edit.delta)) for edit in diff.edits)
    return decimals_for(largest)

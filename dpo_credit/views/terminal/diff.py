"""Two answers compared in the terminal: edits in brackets, what each earned, the echo, and where the rewards part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.align import Diff, Edit, cumulative
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import is_boundary
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Shading, decimals_for
from dpo_credit.views.terminal.colours import legend, models, signed
from dpo_credit.views.terminal.deltas import tables as deltas
from dpo_credit.views.terminal.score import answer, comparison, in_text, prompt_end, sums, tables
from dpo_credit.views.wording import meaning

_SIDE_BY_SIDE = 100  # columns from which the two answers stand beside each other
_EDITS = 12  # rows of the table of edits; the largest are kept
_EDIT_TEXT = 120  # characters of an edit that its row shows; the answer's text has it whole
_BARS = "▁▂▃▄▅▆▇█"


def render(
    scored: ScoredRow,
    look: Look,
    *,
    rows: int | None = None,
    shading: Shading = Shading(),
) -> RenderableType:
    """Both answers, their edits and echo, margin and preference probability, cumulative rewards, lowest and highest.

    The last are of each answer's rewards, or of the deltas of both together if these are what is coloured.
    """
    diff, labels = scored.diff, scored.labels
    credits = (diff.chosen, diff.rejected)
    text = in_text(shading, look)
    scales = text.scales_of(scored)
    spans = ([edit.chosen_span for edit in diff.edits], [edit.rejected_span for edit in diff.edits])
    columns = [
        Group(
            Text(label, style="bold"), answer(credit, scale, look, text.unit, marked, values=values), sums(credit, look)
        )
        for label, credit, scale, marked, values in zip(
            labels, credits, scales, spans, text.values(scored), strict=True
        )
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
    if shading.quantity == "delta":
        parts.append(Text(look.plain(meaning("delta", labels, text.unit)), style="dim"))
    parts += [models(diff.chosen, look), Text()]
    parts += [edits(diff, look, labels), echo(diff, look), Text(), *chart(diff, look, labels)]
    rows = 5 if rows is None else rows
    if shading.quantity == "delta" and rows:
        return Group(*parts, Text(), deltas(scored, look, shading, rows))
    for label, credit, scale in zip(labels, credits, shading.scales(credits), strict=True) if rows else ():
        parts += [Text(), tables(credit, scale, look, shading.unit, rows, label)]
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
        words = _beginning(" ".join(visible(text, look).split()), look)
        cells += [Text(words) if words else Text("(nothing)", style="dim"), Text(signed(reward, look, decimals))]
    return [*cells, Text(signed(edit.delta, look, decimals), style="bold")]


def _beginning(text: str, look: Look) -> str:
    """The text, or its beginning and how long it is."""
    if len(text) <= _EDIT_TEXT:
        return text
    cut = next(n for n in range(_EDIT_TEXT, -1, -1) if is_boundary(text, n))
    return look.plain("…").join((text[:cut].rstrip(), f" ({len(text)} characters)"))


def echo(diff: Diff, look: Look) -> Text:
    """What edits and echo add to the margin, and how far the untouched tokens after the first edit moved."""
    first = diff.edits[0].chosen[0] if diff.edits else math.inf
    count = sum(i >= first for i, _ in diff.pairs)
    moved = f"mean |Δ| {diff.echo_mean_abs:.2g}, max {diff.echo_max_abs:.2g}" if count else "none"
    edited = math.fsum(edit.delta for edit in diff.edits)
    parts = (edited, diff.echo_sum, diff.margin)
    decimals = decimals_for(max(map(abs, parts)))
    edits, echo, margin = (signed(value, look, decimals) for value in parts)
    return Text.assemble(
        (f"edits {edits} and echo {echo} make the margin {margin}\n", "bold") if diff.edits else "",
        ("echo ", "bold"),
        look.plain(f"on the {count} untouched tokens after the first edit: {moved}"),
    )


def chart(diff: Diff, look: Look, labels: Sequence[str]) -> list[RenderableType]:
    """The cumulative reward of both answers on one scale, and below, on its own, that of the margin between them.

    What both answers have stands at one place; marks between the two say where the edits are.
    """
    ours, theirs = ([segment.reward for segment in credit.segments] for credit in (diff.chosen, diff.rejected))
    curves = cumulative(ours, theirs, [(edit.chosen, edit.rejected) for edit in diff.edits])
    length, name = len(curves.chosen) - 1, max(map(len, (*labels, "margin"))) + 2
    width = min(length, max(8, look.width - name - 12))
    places = list(pairwise(n * length // width for n in range(width + 1)))
    marks = ("^" if any(low < stop and start < high for low, high in curves.edits) else " " for start, stop in places)

    def bars(title: str, lines: Sequence[tuple[str, Sequence[float]]]) -> list[RenderableType]:
        low, high = min(min(curve) for _, curve in lines), max(max(curve) for _, curve in lines)
        steps = 7 / ((high - low) or 1.0)
        parts: list[RenderableType] = [
            Text.assemble((f"cumulative {title}", "bold"), f" from {signed(low, look)} to {signed(high, look)}")
        ]
        for label, curve in lines:
            drawn = "".join(_BARS[round((curve[stop] - low) * steps)] for _, stop in places)
            parts.append(Text(f"{label:{name}}{look.plain(drawn)} {signed(curve[-1], look)}"))
        return parts

    return [
        *bars("reward", list(zip(labels, (curves.chosen, curves.rejected), strict=True))),
        *[Text(" " * name + "".join(marks) + "  ^ edits")] * bool(curves.edits),
        *bars("margin", [("margin", curves.margin)]),
    ]


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

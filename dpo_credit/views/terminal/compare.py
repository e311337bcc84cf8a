"""Several policies on the same answers in the terminal: each line of text under every policy, on one scale."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.compare.comparison import Comparison
from dpo_credit.credit import Credit
from dpo_credit.estimates.intervals import Correlation
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Scale, Shading
from dpo_credit.views.terminal.colours import legend, signed
from dpo_credit.views.terminal.score import answer, context, in_context, in_text
from dpo_credit.views.terminal.tables import table as table_of
from dpo_credit.views.terminal.tables import whole

_NAME = 24  # columns of a policy's name


def render(
    comparison: Comparison, look: Look, *, rows: int | None = None, shading: Shading = Shading()
) -> RenderableType:
    """The policies in figures, how far they agree, the answers of a single row, and `rows` words they disagree on."""
    everyone = [_short(visible(name, look), look) for name in comparison.everyone]
    names, judges = everyone[: len(comparison.names)], everyone[len(comparison.names) :]
    parts: list[RenderableType] = [_summaries(comparison, everyone, look), Text()]
    for quantity, correlations in comparison.agreements():
        parts += [_matrix(correlations, everyone, quantity, look), Text()]
    text = in_text(shading, look)
    scale = scale_of(comparison, text)
    if len(comparison.rows) == 1:
        for n, label in enumerate(comparison.rows[0].labels):
            credits = [its[0][n] for its in comparison.credits]
            parts += [Text(label, style="bold")] * bool(label)
            parts += _lines(credits, names, scale, look, text)
            given = zip(judges, comparison.explicit, strict=True)
            parts += [
                Text(f"{name}  {signed(judge.rewards[0][n], look)}, a reward model's for the whole answer", style="dim")
                for name, judge in given
            ]
            parts.append(Text())
        parts += [legend(scale, comparison.credits[0][0][0], look, text.unit), Text()]
    unit = shading.unit if shading.unit != "token" else shading.unit_of_signs
    parts += [_disagreements(comparison, names, look, Shading(unit), 5 if rows is None else rows)]
    return Group(*parts)


def scale_of(comparison: Comparison, shading: Shading) -> Scale:
    """One for all policies and rows."""
    return shading.scales([credit for its in comparison.credits for answers in its for credit in answers])[0]


def _short(name: str, look: Look) -> str:
    if cell_len(name) <= _NAME:
        return name
    return look.plain("…") + name[1 - _NAME :]


def _summaries(comparison: Comparison, names: Sequence[str], look: Look) -> Table:
    made = table_of("policy", "beta", "pairs right", "95 %", "mean margin", "mean reward")
    for name, summary in zip(names, comparison.summaries(), strict=True):
        share = summary.accuracy
        right = "" if share is None else f"{share.hits} of {share.count}"
        interval = "" if share is None or share.low is None else f"{share.low:.2f} to {share.high:.2f}"
        margin = "" if summary.margin is None else signed(summary.margin, look, 3)
        beta = look.plain("–") if summary.beta is None else f"{summary.beta:g}"
        made.add_row(Text(name, "bold"), beta, right, interval, margin, signed(summary.reward, look, 3))
    return whole(made, look)


def _matrix(
    correlations: Sequence[Sequence[Correlation | None]], names: Sequence[str], quantity: str, look: Look
) -> RenderableType:
    count = next(each.count for n, line in enumerate(correlations) for each in line[:n] if each)
    made = table_of("", *(f"{n}" for n in range(1, len(names) + 1)))
    for n, (name, line) in enumerate(zip(names, correlations, strict=True), 1):
        cells = ["1" if m == n else _cell(each, look) for m, each in enumerate(line, 1)]
        made.add_row(Text(f"{n} {name}"), *cells)
    what = f"rank correlation of {count} {quantity}s (Spearman), with 95 % intervals"
    return Group(Text(what, style="bold"), whole(made, look))


def _cell(each: Correlation | None, look: Look) -> str:
    if each is None:
        return look.plain("–")
    interval = "" if each.low is None else f"\n{each.low:+.2f} to {each.high:+.2f}"
    return look.plain(f"{each.value:+.3f}{interval}".replace("-", "−"))


def _lines(
    credits: Sequence[Credit], names: Sequence[str], scale: Scale, look: Look, text: Shading
) -> list[RenderableType]:
    """Each line of the text once for every policy, its name and sum beside it; with signs, whose widths differ, whole
    texts below each other."""
    sums = [signed(credit.reward, look, scale.decimals) for credit in credits]
    width = max(map(cell_len, names)) + max(map(len, sums)) + 4
    paper = Console(width=max(20, look.width - width), file=io.StringIO())
    wrapped = [answer(credit, scale, look, text.unit).wrap(paper, paper.width) for credit in credits]
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True, style="dim")
    made.add_column(no_wrap=True, justify="right")
    made.add_column()
    if len({len(lines) for lines in wrapped}) == 1 and look.colours != "none":
        count = len(wrapped[0])
        for n in range(count):
            for name, total, lines in zip(names, sums, wrapped, strict=True):
                made.add_row(name, "" if n else total, lines[n])
            if n < count - 1:
                made.add_row()
    else:
        for name, total, lines in zip(names, sums, wrapped, strict=True):
            made.add_row(name, total, Group(*lines))
    return [made]


def _disagreements(
    comparison: Comparison, names: Sequence[str], look: Look, shading: Shading, rows: int
) -> RenderableType:
    if not rows:
        return Text()
    scale, several = scale_of(comparison, shading), len(comparison.rows) > 1
    made = table_of(f"where they disagree most ({shading.unit}s)", *names, "range", *["row"] * several)
    columns = context(look, sum(max(map(cell_len, name.split())) + 2 for name in names) + 9 + 14 * several)
    for each in comparison.disagreements(shading.unit)[:rows]:
        credit = comparison.credits[0][each.row][each.answer]
        row = comparison.rows[each.row]
        label = " ".join(filter(None, (row.id, row.labels[each.answer])))
        made.add_row(
            in_context(credit, each.segments[0], scale, look, columns),
            *(signed(reward, look, scale.decimals) for reward in each.rewards),
            f"{each.range:.{scale.decimals}f}",
            *[Text(visible(label, look))] * several,
        )
    return whole(made, look)

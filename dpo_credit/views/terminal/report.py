"""A report on a scored data set in the terminal: its figures as tables, and where the rows stand behind each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, OverflowMethod, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.report.figures import PairFigures, Report, RowFigures
from dpo_credit.report.wording import beta_of, carried_by, count_of_words, lengths, place_name, short
from dpo_credit.report.words import Word
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Scale, decimals_for, decimals_of
from dpo_credit.views.terminal.colours import signed, style
from dpo_credit.views.terminal.tables import table as table_of
from dpo_credit.views.terminal.tables import whole

_SIDE_BY_SIDE = 140  # columns from which two tables stand beside each other
_BARS = "▁▂▃▄▅▆▇█"
_CARRIER = 160  # characters of a sentence


def render(report: Report, look: Look) -> RenderableType:
    """Sizes, accuracy and margins, rewards by place and class, length, words, and the rows at either end."""
    parts: list[RenderableType] = [_head(report, look), Text()]
    if report.pairs is not None:
        parts += [_pairs(report.pairs, look), Text()]
    parts += [
        *(_titled("rewards by place in the answer", _places(report, look))),
        *(_titled("rewards by class of token", _classes(report, look))),
        *(_titled("reward against length", _length(report, look))),
        *_words(report, look),
        *_rows(report, look),
    ]
    return Group(*parts[:-1])


def _titled(title: str, body: RenderableType) -> list[RenderableType]:
    return [Text(title, style="bold"), body, Text()]


def _head(report: Report, look: Look) -> Text:
    files = visible(", ".join(report.files), look)
    rows = f"{report.rows:,} rows{to_prompts(report.rows, report.prompts)}"
    what = f"{rows}, {report.answers:,} answers, {report.tokens:,} tokens"
    text = Text.assemble((files, "bold"), f": {what}")
    for source in report.sources:
        models = f"\n{source.policy} against {source.reference}, {beta_of(source)}, {source.dtype}"
        text.append(visible(models, look) + (f": {source.rows:,} rows" if len(report.sources) > 1 else ""), "dim")
    known = "intervals hold with 95 % confidence"
    text.append(f"\n{intervals_of(report.rows, report.prompts, 'rows', known)}", "dim")
    return text


def _pairs(pairs: PairFigures, look: Look) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    share = pairs.accuracy
    interval = ""
    if share.low is not None and share.high is not None:
        interval = f" ({100 * share.low:.1f} to {100 * share.high:.1f})"
    table.add_row(
        "pair accuracy", f"{100 * share.share:.1f} %{interval}: {share.hits:,} of {share.count:,} margins above 0"
    )
    decimals = decimals_of([pairs.margin])
    middle = [signed(pairs.quantiles[n], look, decimals) for n in (1, 3)]
    table.add_row(
        "margin", Text(look.plain(f"{_mean(pairs.margin, decimals, look)}, half of all in {middle[0]} to {middle[1]}"))
    )
    table.add_row("", _bars(pairs, look))
    return table


def _bars(pairs: PairFigures, look: Look) -> Text:
    """The distribution in one line; margins below zero in the colour of a negative reward."""
    edges, counts = pairs.histogram.edges, pairs.histogram.counts
    scale, top = Scale(1.0), max(counts)
    text = Text(f"{signed(edges[0], look)} ")
    for start, count in zip(edges, counts, strict=False):
        bar = " " if not count else look.plain(_BARS[round((len(_BARS) - 1) * count / top)])
        ink = style(-1.0 if start < 0 else 1.0, scale, look).bgcolor
        text.append(bar, Style(color=ink))
    return text.append(f" {signed(edges[-1], look)}")


def _places(report: Report, look: Look) -> Table:
    table = _table("part of the answer", *(side.side for side in report.sides))
    decimals = decimals_of(place for side in report.sides for place in side.relative)
    count = len(report.sides[0].relative)
    for n in range(count):
        part = f"{100 * n // count} to {100 * (n + 1) // count} %"
        table.add_row(part, *(_mean(side.relative[n], decimals, look) for side in report.sides))
    return whole(table, look)


def _classes(report: Report, look: Look) -> Table:
    sides = [side.side for side in report.sides]
    margin = ["part of the margin"] if report.pairs is not None else []
    table = _table("class", "tokens", *sides, *margin)
    decimals = decimals_of(side for kind in report.classes for side in kind.sides.values())
    margin_decimals = decimals_of(kind.margin for kind in report.classes)
    for kind in report.classes:
        cells = [_mean(kind.sides.get(side), decimals, look) for side in sides]
        cells += [_mean(kind.margin, margin_decimals, look)] * len(margin)
        table.add_row(kind.name, f"{100 * kind.tokens / report.tokens:.1f} %", *cells)
    return whole(table, look)


def _length(report: Report, look: Look) -> Text:
    length = report.length
    text = Text(look.plain(length.verdict))
    shown = [
        f"{name} {estimate.value:+.2f}"
        + (f" ({estimate.low:+.2f} to {estimate.high:+.2f})" if estimate.low is not None else "")
        for name, estimate in (("Pearson", length.pearson), ("Spearman", length.spearman))
        if estimate is not None
    ]
    if shown:
        line = f"\nreward and tokens over all answers: {', '.join(shown)}".replace("-", "−")
        text.append(look.plain(line), "dim")
    return text


def _words(report: Report, look: Look) -> list[RenderableType]:
    words = report.words
    decimals = decimals_of(word.reward for word in (*words.rewarded, *words.punished))
    return [
        *_titled("words", Text(count_of_words(words))),
        *_both(
            look,
            ("most rewarded words", _word_table(words.rewarded, report, decimals, look)),
            ("most punished words", _word_table(words.punished, report, decimals, look)),
        ),
    ]


def _word_table(words: Sequence[Word], report: Report, decimals: int, look: Look) -> RenderableType:
    if not words:
        return Text("none")
    table = _table("word", "mean reward", "times", "rows", "for example")
    table.columns[-1].justify = "left"
    for column in table.columns[1:-1]:
        column.no_wrap = True
    for word in words:
        reward = word.reward
        cells = (_mean(reward, decimals, look), f"{reward.count:,}", f"{reward.rows:,}")
        example = Text(visible(place_name(word.example, report), look))
        table.add_row(Text(visible(word.word, look)), *cells, example)
    return table


def _rows(report: Report, look: Look) -> list[RenderableType]:
    value = "margin" if report.pairs is not None else "reward"
    return _both(
        look,
        (f"lowest {value}s", _row_table(report.lowest, (value, "costs"), report, look)),
        (f"highest {value}s", _row_table(report.highest, (value, "earns"), report, look)),
    )


def _row_table(rows: Sequence[RowFigures], named: tuple[str, str], report: Report, look: Look) -> RenderableType:
    """The rows at one end; three lines each: what it is called, how its prompt begins, and what carries most of it."""
    if not rows:
        return Text("none beyond these")
    value, carries = named
    table = _table(value, "tokens", f"row, its prompt, and what {carries} it most")
    table.columns[0].justify, table.columns[-1].justify = "right", "left"
    for column in table.columns[:-1]:
        column.no_wrap = True
    decimals = decimals_for(max(abs(row.value) for row in (*report.lowest, *report.highest)))
    for row in rows:
        carrier = row.carrier
        lines = [Text(visible(place_name(row.place, report), look), overflow="fold")]
        if row.prompt:
            cut: OverflowMethod = "crop" if look.ascii_only else "ellipsis"
            lines.append(Text(visible(look.plain(row.prompt), look), "dim", no_wrap=True, overflow=cut))
        share = f"{signed(carrier.share, look, decimals)}  {carried_by(row, report)}: "
        lines.append(Text(share + visible(look.plain(short(carrier.text, _CARRIER)), look), overflow="fold"))
        table.add_row(signed(row.value, look, decimals), lengths(row), Group(*lines))
    return table


def _both(look: Look, *tables: tuple[str, RenderableType]) -> list[RenderableType]:
    """Two tables beside each other, where there is room."""
    titled = [part for title, body in tables for part in _titled(title, body)]
    if look.width < _SIDE_BY_SIDE:
        return titled
    grid = Table.grid(padding=(0, 4, 0, 0))
    grid.add_row(*(Group(Text(title, style="bold"), body) for title, body in tables))
    return [grid, Text()]


def _table(*headings: str) -> Table:
    table = table_of(*headings)
    table.header_style = "dim"
    return table


def _mean(mean: Mean | None, decimals: int, look: Look) -> str:
    """A mean with its interval's half-width."""
    if mean is None:
        return look.plain("–")
    half = "" if mean.high is None else f" ± {mean.high - mean.mean:.{decimals}f}"
    return look.plain(signed(mean.mean, look, decimals) + half)

"""A report on a scored data set as one self-contained page: figures, charts, words, and the rows behind them drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from dpo_credit.credit import CreditError, margin
from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.report.figures import Report, RowFigures, SideFigures
from dpo_credit.report.wording import beta_of, carried_by, count_of_words, lengths, place_name, short
from dpo_credit.report.words import Place, Word, word_at
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.chart import ticks
from dpo_credit.views.page.listed import listed, step
from dpo_credit.views.page.overview import overview_of
from dpo_credit.views.page.score import page
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import decimals_of

_CONTEXT = 42  # characters shown before and after a word
_CARRIER = 300  # of a sentence that carries most
_ROOM = 0.06  # of a chart's height, above and below what it shows


class Span(NamedTuple):
    """From `low` to `high` of an axis, as percent of the chart from its left or its top."""

    low: float
    high: float

    def across(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def down(self, value: float) -> float:
        return round(100 - self.across(value), 2)


def drawn(report: Report) -> list[tuple[str, int]]:
    """The lines (source, line) of the rows that the page draws: the lowest, the highest, and one for each word."""
    rows = [row.place for row in (*report.lowest, *report.highest)]
    words = [word.example for word in (*report.words.rewarded, *report.words.punished)]
    return list(dict.fromkeys((place.source, place.line) for place in (*rows, *words)))


def render(report: Report, every_row: Iterable[ScoredRow]) -> str:
    """The page.

    Args:
        report: the figures.
        every_row: the rows that they are of, once more.

    Raises:
        CreditError: a row that the report names is gone, or two answers of one do not compare.
    """
    rows, table = _taken(report, every_row)
    ordered = sorted(((_value(row), n, row) for n, row in enumerate(rows.values())), key=lambda item: item[:2])
    anchors = {(row.row.source, row.row.line): f"e{n}" for n, (_, _, row) in enumerate(ordered, 1)}
    entries = [replace(row, row=replace(row.row, id=place_name(_place(row), report))) for _, _, row in ordered]
    words = (report.words.rewarded, report.words.punished)
    figures: dict[str, Any] = {
        "many": True,
        "report": report,
        "to_prompts": to_prompts(report.rows, report.prompts),
        "source": _source(report),
        "histogram": _histogram(report),
        "places": _places(report),
        "classes": _classes(report),
        "scatter": _scatter(report),
        "words": [[_word(word, rows, anchors, report) for word in side] for side in words],
        "count_of_words": count_of_words(report.words),
        "word_decimals": decimals_of(word.reward for side in words for word in side),
        "ends": [[_end(row, anchors, report) for row in side] for side in (report.lowest, report.highest)],
        "listed": [{**row, "anchor": anchors.get(row["place"])} for row in table],
        "every": step(report),
    }
    files = ", ".join(report.files)
    styles, scripts = ("report.css",), ("report.js",)
    title = f"Report on {files}"
    return "".join(
        page("report.html", entries, overview_of(entries), figures, title=title, styles=styles, scripts=scripts)
    )


def _taken(
    report: Report, every_row: Iterable[ScoredRow]
) -> tuple[dict[tuple[str, int], ScoredRow], list[dict[str, Any]]]:
    """The rows that are drawn, by their lines, and those that are listed, by ascending value."""
    wanted, rows, table = set(drawn(report)), {}, []
    for n, row in enumerate(every_row):
        at = (row.row.source, row.row.line)
        if at in wanted:
            rows[at] = row
        compares = report.pairs is None or row.kind == "preference"
        if compares and (at in wanted or n % step(report) == 0):
            table.append(listed(row, _value(row), report))
    for source, line in sorted(wanted - rows.keys()):
        raise CreditError(f"{source}, line {line} is gone: the file changed while it was read. Report on it again.")
    return rows, sorted(table, key=lambda row: row["value"])


def _end(row: RowFigures, anchors: Mapping[tuple[str, int], str], report: Report) -> dict[str, Any]:
    """A row at an end: its link, and why it stands there."""
    return {
        "anchor": anchors[row.place.source, row.place.line],
        "name": visible(place_name(row.place, report)),
        "value": row.value,
        "tokens": lengths(row),
        "prompt": visible(row.prompt),
        "share": row.carrier.share,
        "by": carried_by(row, report),
        "text": visible(short(row.carrier.text, _CARRIER)),
    }


def _value(row: ScoredRow) -> float:
    """What rows are ordered by: the margin, or the mean reward of what is no preference."""
    if row.kind == "preference":
        return margin(*row.credits)
    return sum(credit.reward for credit in row.credits) / len(row.credits)


def _place(row: ScoredRow) -> Place:
    return Place(row.row.source, row.row.line, row.id)


def _source(report: Report) -> list[tuple[str, str]]:
    several = len(report.sources) > 1
    facts = [
        (
            "scored by" + f" ({source.rows:,} rows)" * several,
            visible(f"{source.policy} against {source.reference}, {beta_of(source)}, {source.dtype}"),
        )
        for source in report.sources
    ]
    return [*facts, ("intervals", intervals_of(report.rows, report.prompts, "rows", "95 %"))]


def _axis(values: Iterable[float]) -> tuple[Span, dict[str, Any]]:
    """A vertical axis that holds these values, and its ticks for the template."""
    known = [0.0, *values]
    low, high = min(known), max(known)
    room = (high - low) * _ROOM or 1.0
    span = Span(low - room, high + room)
    marks, decimals = ticks(low, high)
    return span, {"ticks": [(span.down(mark), mark) for mark in marks], "decimals": decimals}


def _histogram(report: Report) -> dict[str, Any] | None:
    if report.pairs is None:
        return None
    shape = report.pairs.histogram
    across, top = Span(shape.edges[0], shape.edges[-1]), max(shape.counts)
    marks, decimals = ticks(shape.edges[0], shape.edges[-1])
    bars = [
        {
            "x": across.across(start),
            "width": round(across.across(stop) - across.across(start), 2),
            "height": round(96 * count / top, 2),
            "below": start < 0,
            "name": f"{start:g} to {stop:g}: {count:,}".replace("-", "−"),
        }
        for start, stop, count in zip(shape.edges, shape.edges[1:], shape.counts, strict=False)
    ]
    return {
        "bars": bars,
        "x": [(across.across(mark), mark) for mark in marks],
        "decimals": decimals,
        "top": top,
        "mean": across.across(report.pairs.margin.mean),
    }


def _places(report: Report) -> list[dict[str, Any]]:
    """Two charts, each with its numbers as a table: rewards by part of the answer, and by token from its start."""
    parts = len(report.sides[0].relative)
    octaves = max(len(side.absolute) for side in report.sides)
    tenths = [f"{100 * n // parts}–{100 * (n + 1) // parts} %" for n in range(parts)]
    tokens = [f"{2 ** (n - 1) + 1}–{2**n}" if n > 1 else str(n + 1) for n in range(octaves)]
    relative = [(side, side.relative) for side in report.sides]
    absolute = [(side, side.absolute + [None] * (octaves - len(side.absolute))) for side in report.sides]
    charts = [
        _lines("by part of the answer", tenths, relative),
        _lines("by token from its start", tokens, absolute),
    ]
    return [chart for chart in charts if chart is not None]


def _lines(
    title: str, names: Sequence[str], sides: Sequence[tuple[SideFigures, Sequence[Mean | None]]]
) -> dict[str, Any] | None:
    means = [mean for _, of_side in sides for mean in of_side if mean is not None]
    if not means:
        return None
    # from the means alone: the interval of a rare place may reach far, and is cut off at the chart's edge
    span, axis = _axis(_reach(means))
    width = 1000 / len(names)
    drawn_sides = []
    for number, (side, of_side) in enumerate(sides, 1):
        points = [(width * (n + 0.5), mean) for n, mean in enumerate(of_side) if mean is not None]
        upper = [(x, mean.high) for x, mean in points if mean.high is not None]
        lower = [(x, mean.low) for x, mean in points if mean.low is not None]
        drawn_sides.append(
            {
                "name": side.side,
                "number": number,
                "line": _path(((x, mean.mean) for x, mean in points), span),
                "band": _path((*upper, *reversed(lower)), span),
            }
        )
    return {
        **axis,
        "title": title,
        "sides": drawn_sides,
        "names": [(round((n + 0.5) * width / 10, 2), name) for n, name in enumerate(names)],
        "rows": [(name, [of_side[n] for _, of_side in sides]) for n, name in enumerate(names)],
        "number_decimals": decimals_of(means),
    }


def _reach(means: Sequence[Mean]) -> list[float]:
    """How far a chart reaches: over all means, and over intervals up to half as far again."""
    values = [mean.mean for mean in means]
    low, high = min(0.0, *values), max(0.0, *values)
    slack = (high - low) / 2
    ends = [end for mean in means for end in (mean.low, mean.high) if end is not None]
    return [*values, *(min(max(end, low - slack), high + slack) for end in ends)]


def _path(points: Iterable[tuple[float, float]], span: Span) -> str:
    return " ".join(f"{x:.0f},{min(100.0, max(0.0, span.down(y))):g}" for x, y in points)


def _classes(report: Report) -> dict[str, Any]:
    """The table of classes, each mean with its place in a strip that all share."""
    means = [mean for kind in report.classes for mean in kind.sides.values()]
    reach = _reach(means)
    across = Span(min(0.0, *reach), max(0.0, *reach) or 1.0)

    def strip(mean: Mean) -> dict[str, float]:
        low, high = (mean.mean if end is None else end for end in (mean.low, mean.high))
        start, stop = (max(0.0, min(100.0, across.across(end))) for end in (low, high))
        return {"low": start, "high": stop, "at": across.across(mean.mean)}

    return {
        "zero": across.across(0.0),
        "rows": [(kind, [(side, mean, strip(mean)) for side, mean in kind.sides.items()]) for kind in report.classes],
        "decimals": decimals_of(means),
        "margin_decimals": decimals_of(kind.margin for kind in report.classes),
    }


def _scatter(report: Report) -> dict[str, Any] | None:
    sample = report.length.sample
    if len(sample) < 2:
        return None
    down, axis = _axis(reward for _, reward in sample)
    longest = max(tokens for tokens, _ in sample)
    across = Span(0.0, longest * 1.02)
    marks, _ = ticks(0.0, float(longest))
    return {
        **axis,
        "x": [(across.across(mark), int(mark)) for mark in marks if mark == int(mark)],
        "points": [(across.across(tokens), down.down(reward)) for tokens, reward in sample],
        "longest": longest,
    }


def _word(
    word: Word, rows: Mapping[tuple[str, int], ScoredRow], anchors: Mapping[tuple[str, int], str], report: Report
) -> dict[str, Any]:
    """A word's line in the table, with an excerpt whose link leads to the token in the drawn row."""
    place = word.example
    credits = rows[place.source, place.line].credits
    order = list(range(len(credits)))
    if len(credits) > 2:  # as the page orders them
        order.sort(key=lambda n: -credits[n].reward)
    tokens = credits[place.answer].tokens
    start, end = word_at(tokens, place.token)
    before, after = tokens.answer[max(0, start - _CONTEXT) : start], tokens.answer[end : end + _CONTEXT]
    if start > _CONTEXT:  # from a whole word to a whole word, where there is white space
        before = before.partition(" ")[2] or before
    if end + _CONTEXT < len(tokens.answer):
        after = after.rpartition(" ")[0] or after
    return {
        "word": visible(word.word),
        "reward": word.reward,
        "link": f"#{anchors[place.source, place.line]}a{order.index(place.answer) + 1}t{place.token + 1}",
        "before": "…" * (start > _CONTEXT) + visible(before),
        "text": visible(tokens.answer[start:end]),
        "after": visible(after) + "…" * (end + _CONTEXT < len(tokens.answer)),
        "row": visible(place_name(place, report)),
    }

"""A search over a data set as one self-contained page: the figures, and each row's answers with their verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.search.beams import Search, Width, chosen_tokens, figures, sentence
from dpo_credit.views.page.chart import ticks
from dpo_credit.views.page.frame import block_hash, environment, verbatim
from dpo_credit.views.page.text import visible

ROWS = 50  # whose answers are shown
COLOURS = 5
BESIDE = 0.7  # percent of the width between two searches at the same number of beams


def render(searches_of: Sequence[Search], labels: Sequence[str]) -> str:
    """The page; it needs no script."""
    templates = environment()
    style = Markup(
        verbatim(templates, "style.css") + verbatim(templates, "report.css") + verbatim(templates, "beams.css")
    )
    searches = [_search(search, label) for search, label in zip(searches_of, labels, strict=True)]
    chosen = chosen_tokens(searches_of[0])
    return templates.get_template("beams.html").render(
        title="Search by number of beams",
        searches=searches,
        charts=[
            chart
            for chart in (
                _chart("Win rate, %", searches, lambda width: width.win, times=100),
                _chart("Mean length, tokens", searches, lambda width: width.tokens, line=chosen),
            )
            if chart["lines"]
        ],
        style=style,
        style_hash=block_hash(style),
    )


def _search(search: Search, label: str) -> dict[str, Any]:
    settings = search.settings
    return {
        "label": visible(label or str(settings["policy"])),
        "settings": [(name.replace("_", " "), visible(_said(value))) for name, value in settings.items()],
        "widths": figures(search),
        "chosen": chosen_tokens(search),
        "sentence": sentence(search),
        "beams": search.beams,
        "rows": search.rows[:ROWS],
        "count": len(search.rows),
        "to_prompts": to_prompts(len(search.rows), search.prompts),
        "intervals": intervals_of(len(search.rows), search.prompts, "rows"),
    }


def _said(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(_said, value))
    return str(value)


def _chart(
    title: str,
    searches: Sequence[dict[str, Any]],
    pick: Callable[[Width], Mean | None],
    *,
    times: float = 1,
    line: Mean | None = None,
) -> dict[str, Any]:
    """A figure by number of beams, on a logarithmic axis from zero up; a search without it is left out."""
    known = {
        number: [(width.beams, mean) for width in search["widths"] if (mean := pick(width)) is not None]
        for number, search in enumerate(searches)
    }
    ends = [end for means in known.values() for _, mean in means for end in (mean.mean, mean.high) if end is not None]
    top = 1.05 * times * max([*ends, *([line.mean] if line else [])], default=1.0) or 1.0
    beams = sorted({width.beams for search in searches for width in search["widths"]})
    reach = math.log(beams[-1] / beams[0]) or 1.0

    def across(count: int, number: float) -> float:
        shift = BESIDE * (number - (len(searches) - 1) / 2)
        return round(3 + 94 * math.log(count / beams[0]) / reach + shift, 2)

    def down(value: float) -> float:
        return round(100 - 100 * times * value / top, 2)

    lines = []
    for number, means in known.items():
        dots = [
            (
                across(count, number),
                down(mean.mean),
                down(mean.mean if mean.low is None else mean.low),
                down(mean.mean if mean.high is None else mean.high),
            )
            for count, mean in means
        ]
        if dots:
            path = " ".join(f"{10 * x:.0f},{y}" for x, y, _, _ in dots)
            lines.append({"label": searches[number]["label"], "k": number % COLOURS + 1, "path": path, "dots": dots})
    return {
        "title": title,
        "ticks": [(down(mark / times), mark) for mark in ticks(0, top)[0]],
        "x": [(across(count, (len(searches) - 1) / 2), count) for count in beams],
        "lines": lines,
        "chosen": None if line is None else down(line.mean),
    }

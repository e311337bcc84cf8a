"""Credits as one self-contained HTML page, from the Jinja templates with autoescape on: model and post text is data.

The page is whole without JavaScript; page.js redraws the cells from each entry's numbers to add the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dpo_credit.align import Diff, Edit
from dpo_credit.credit import Credit, CreditError
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.answer import Drawing, draw
from dpo_credit.views.page.chart import chart, divergences
from dpo_credit.views.page.frame import block_hash, environment, shades, verbatim
from dpo_credit.views.page.overview import Overview, overview_of
from dpo_credit.views.page.places import places
from dpo_credit.views.page.stretches import LONG, ROWS, UNITS
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale, Shading

_WHOLE = 20  # up to so many entries are whole without JavaScript; beyond, cells and tables of tokens need it


_EDITS = 8  # of a long entry that stand above its text at once
_STYLES, _SCRIPTS = ("style.css", "reading.css"), ("reading.js", "cells.js", "tables.js", "page.js")


def render(entries: Sequence[ScoredRow], shading: Shading = Shading(), title: str = "dpo-credit") -> str:
    """One self-contained page: an answer, the diff of two, several by reward; or an index that opens many of these.

    Raises:
        CreditError: there is nothing to show, or two answers of an entry do not compare.
    """
    return "".join(pieces(entries, overview_of(entries, shading), title))


def pieces(entries: Iterable[ScoredRow], overview: Overview, title: str = "dpo-credit") -> Iterator[str]:
    """What `render` gives, piece by piece, with one entry in memory at a time.

    Args:
        entries: what the page shows.
        overview: see `overview_of`, of the same entries.
        title: the page's.

    Raises:
        CreditError: there is nothing to show; while it is iterated over, the entries are others than they were.
    """
    if not overview.count:
        raise CreditError("No answers to show. Give at least one scored answer.")
    return page(
        "page.html", entries, overview, {"many": overview.count > 1, "source": overview.basis.facts}, title=title
    )


def page(
    template: str,
    entries: Iterable[ScoredRow],
    overview: Overview,
    figures: Mapping[str, Any],
    *,
    title: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> Iterator[str]:
    """A template that is `page.html` or extends it: what all pages share, and the `figures` of its own.

    Of those, `many` says whether the entries stand in an index, and `source` what they rest on.
    """
    templates, shading = environment(), overview.shading
    style = Markup("".join(verbatim(templates, name) for name in (*_STYLES, *styles)) + shades(shading.palette))
    script = Markup("".join(verbatim(templates, name) for name in (*_SCRIPTS, *scripts)))
    return templates.get_template(template).generate(
        title=visible(title),
        entries=_views(entries, overview, many=figures["many"]),
        overview=overview,
        decimals=overview.decimals,
        unit=shading.unit,
        units=[unit for unit in UNITS if unit != "turn" or overview.turns],
        quantity=shading.quantity,
        style=style,
        script=script,
        style_hash=block_hash(style),
        script_hash=block_hash(script),
        **figures,
    )


def _views(entries: Iterable[ScoredRow], overview: Overview, *, many: bool) -> Iterator[dict[str, Any]]:
    count = 0
    for count, entry in enumerate(entries, 1):  # the last one's is needed
        yield _entry(entry, overview.shading, f"e{count}" if many else "", overview.count <= _WHOLE)
    if count != overview.count:
        raise CreditError(f"there were {overview.count:,} rows, and now there are {count:,}: draw them again.")


def fragment(credit: Credit, scale: Scale | None = None, edited: Collection[int] = ()) -> str:
    """The answer as shaded text with its reward, self-contained, for a notebook's cell.

    Args:
        credit: the answer.
        scale: where its colours end; its own scale, if not given.
        edited: indices of segments to frame.
    """
    scale = scale or Shading().scales([credit])[0]
    cells = []
    for n, segment in enumerate(credit.segments):
        background, text = scale.shade(segment.reward, "light")
        below = segment.reward < 0 and scale.strength(segment.reward) > 0
        segment = segment._replace(text=visible(segment.text), piece=visible(segment.piece))
        shade = {"background": f"rgb{background}", "text": f"rgb{text}", "below": below, "edited": n in edited}
        cells.append({"segment": segment, **shade})
    return environment().get_template("credit.html").render(credit=credit, cells=cells, scale=scale)


def _entry(entry: ScoredRow, shading: Shading, anchor: str, whole: bool) -> dict[str, Any]:
    each = list(zip(entry.credits, entry.labels, strict=True))
    if len(each) > 2:
        each.sort(key=lambda pair: -pair[0].reward)
    credits = [credit for credit, _ in each]
    aligned = entry.diff if len(each) == 2 else None
    drawing = Drawing(credits, aligned, shading)
    long = len(each) <= 2 and max(len(credit.rewards) for credit in credits) > LONG
    ends = places(drawing.segments, drawing.bounds[shading.unit], drawing.partners) if long else ([], [])
    answers = []
    for n, (_, label) in enumerate(each, 1):
        linked = {place["token"] for end in ends for place in end if place["answer"] == n}
        made = draw(drawing, n - 1, label=label or "answer", anchor=f"{anchor}a{n}", cells=whole, linked=linked)
        answers.append(made)
    return {
        "id": visible(entry.id),
        "anchor": anchor,
        "prompt": visible(entry.prompt),
        "unit": shading.unit,
        "rows": shading.unit in ROWS,
        "quantity": drawing.quantity,
        "labels": [answer["label"] for answer in answers] if aligned else (),
        "answers": answers,
        "diff": aligned,
        "edits": _edits(aligned, long) if aligned else None,
        "folds": any(drawing.folds),
        "chart": chart(credits, aligned) if len(each) <= 2 else None,
        "divergences": divergences(credits, entry.shifts, aligned) if entry.shifts and len(each) <= 2 else None,
        "long": long,
        "places": ends,
        "gist": _gist(answers, aligned),
        "shared": shading.limit != "per-answer",
        "decimals": drawing.decimals,
        "data": {"decimals": drawing.decimals, "answers": [answer.pop("data") for answer in answers]},
        "whole": whole,
    }


def _edits(aligned: Diff, long: bool) -> tuple[list[tuple[int, Edit]], list[tuple[int, Edit]]]:
    """The edits with their numbers: those that a long entry shows, and the rest."""
    edits = list(enumerate(aligned.edits, 1))
    if not long or len(edits) <= _EDITS:
        return edits, []
    first = sorted(edits, key=lambda item: -abs(item[1].delta))[:_EDITS]
    return first, [edit for edit in edits if edit not in first]


def _gist(answers: list[dict[str, Any]], aligned: Diff | None) -> list[tuple[str, str]]:
    """What an index says of an entry: its first edits, or how its first answer begins."""
    if aligned is None or not aligned.edits:
        return [(_short(answers[0]["credit"].tokens.answer, 90), "")]
    return [(_short(edit.chosen_text, 30), _short(edit.rejected_text, 30)) for edit in aligned.edits[:3]]


def _short(text: str, length: int) -> str:
    text = visible(text.strip())
    return (text if len(text) <= length else text[: length - 1] + "…") or "∅"

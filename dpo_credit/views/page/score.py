"""Credits as one self-contained HTML page, from the Jinja templates with autoescape on: model and post text is data.

The page is whole without JavaScript; page.js redraws the cells from each entry's numbers to add the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from markupsafe import Markup

from dpo_credit.align import Diff
from dpo_credit.credit import Credit, CreditError
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Unit
from dpo_credit.views.page.cells import Span, cell_groups, cut_at_edits
from dpo_credit.views.page.chart import chart
from dpo_credit.views.page.frame import block_hash, environment, shades, verbatim, writing
from dpo_credit.views.page.overview import Overview, overview_of
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale, Shading
from dpo_credit.views.wording import extent

UNITS: tuple[Unit, ...] = get_args(Unit)
_WHOLE = 20  # up to so many entries are whole without JavaScript; beyond, cells and tables of tokens need it


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
    styles: Sequence[str] = ("style.css",),
) -> Iterator[str]:
    """A template that is `page.html` or extends it: what all pages share, and the `figures` of its own.

    Of those, `many` says whether the entries stand in an index, and `source` what they rest on.
    """
    templates, shading = environment(), overview.shading
    style = Markup("".join(verbatim(templates, name) for name in styles) + shades(shading.palette))
    script = Markup(verbatim(templates, "page.js"))
    return templates.get_template(template).generate(
        title=visible(title),
        entries=_views(entries, overview, many=figures["many"]),
        overview=overview,
        decimals=overview.decimals,
        unit=shading.unit,
        units=UNITS,
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


def fragment(credit: Credit) -> str:
    """The answer as shaded text with its reward, self-contained, for a notebook's cell."""
    (scale,) = Shading().scales([credit])
    cells = []
    for segment in credit.segments:
        background, text = scale.shade(segment.reward, "light")
        below = segment.reward < 0 and scale.strength(segment.reward) > 0
        segment = segment._replace(text=visible(segment.text), piece=visible(segment.piece))
        cells.append({"segment": segment, "background": f"rgb{background}", "text": f"rgb{text}", "below": below})
    return environment().get_template("credit.html").render(credit=credit, cells=cells, scale=scale)


def _entry(entry: ScoredRow, shading: Shading, anchor: str, whole: bool) -> dict[str, Any]:
    each = list(zip(entry.credits, entry.labels, strict=True))
    if len(each) > 2:
        each.sort(key=lambda pair: -pair[0].reward)
    credits = [credit for credit, _ in each]
    scales = {unit: replace(shading, unit=unit).scales(credits) for unit in UNITS}
    aligned = entry.diff if len(each) == 2 else None
    decimals = max(scale.decimals for scale in scales["token"])
    answers = []
    for n, (credit, label) in enumerate(each):
        edits = [(*(edit.chosen, edit.rejected)[n], k) for k, edit in enumerate(aligned.edits if aligned else (), 1)]
        its = {unit: scales[unit][n] for unit in UNITS}
        answers.append(_answer(credit, label or "answer", its, edits, shading.unit if whole else None))
    return {
        "id": visible(entry.id),
        "anchor": anchor,
        "prompt": visible(entry.prompt),
        "answers": answers,
        "diff": aligned,
        "chart": chart(credits, aligned) if len(each) <= 2 else None,
        "gist": _gist(answers, aligned),
        "shared": shading.limit != "per-answer",
        "decimals": decimals,
        "data": {"decimals": decimals, "answers": [answer.pop("data") for answer in answers]},
        "whole": whole,
    }


def _answer(
    credit: Credit, label: str, scales: dict[Unit, Scale], edits: list[Span], static: Unit | None
) -> dict[str, Any]:
    """What the templates need of an answer; `static`: the unit whose cells are drawn here, if any are."""
    segments = credit.segments
    places = {segment.start: n for n, segment in enumerate(segments)} | {len(credit.rewards): len(segments)}
    bounds = {unit: [(places[s.start], places[s.stop]) for s in credit.by(unit)] for unit in UNITS}
    rewards = credit.rewards
    data: dict[str, Any] = {
        "label": visible(label),
        "weight": credit.weight,
        "noise": scales["token"].noise,
        "limits": {unit: scales[unit].limit for unit in UNITS},
        "text": [visible(segment.text or segment.piece) for segment in segments],
        "ends": [n for n, segment in enumerate(segments) if not segment.text],
        "policy": [round(segment.policy_logp, 5) for segment in segments],
        # the log-ratio to six digits, so that rewards near zero keep theirs; the reference follows from the two
        "ratio": [float(f"{segment.policy_logp - segment.reference_logp:.6g}") for segment in segments],
        "word": [stop - start for start, stop in bounds["word"]],
        "sentence": [stop - start for start, stop in bounds["sentence"]],
        "edits": edits,
    }
    apart, counted = credit.tokens.aside, credit.tokens.counted
    aside = [n for n, segment in enumerate(segments) if apart[segment.start]]
    uncounted = [n for n, segment in enumerate(segments) if not counted[segment.start]]
    data |= {name: numbers for name, numbers in (("aside", aside), ("uncounted", uncounted)) if numbers}
    if len(segments) < len(rewards):
        data["sizes"] = [segment.stop - segment.start for segment in segments]
    for name, tops in (("policyTop", credit.policy_top), ("referenceTop", credit.reference_top)):
        if tops:
            data[name] = [[(visible(a.piece), round(a.logp, 4)) for a in tops[s.start]] for s in segments]
    return {
        "data": data,
        "label": visible(label),
        "credit": credit,
        "extent": extent(credit.tokens),
        "segments": segments if static else (),
        "groups": cell_groups(segments, bounds[static], edits, static, scales[static], aside) if static else (),
        "parts": cut_at_edits(segments, (0, len(segments)), edits),
        **writing(credit.tokens.answer),
        "scale": scales[static or "token"],
        "rose": [reward for reward in rewards if reward > 0],
        "fell": [reward for reward in rewards if reward < 0],
    }


def _gist(answers: list[dict[str, Any]], aligned: Diff | None) -> list[tuple[str, str]]:
    """What an index says of an entry: its first edits, or how its first answer begins."""
    if aligned is None or not aligned.edits:
        return [(_short(answers[0]["credit"].tokens.answer, 90), "")]
    return [(_short(edit.chosen_text, 30), _short(edit.rejected_text, 30)) for edit in aligned.edits[:3]]


def _short(text: str, length: int) -> str:
    text = visible(text.strip())
    return (text if len(text) <= length else text[: length - 1] + "…") or "∅"

"""What `localise` found, as one self-contained page: numbers, curves, and the best and worst answers token by token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dpo_credit.credit import Credit
from dpo_credit.localise.localised import Fact, LabelledAnswer, LocaliseReport, Paraphrased
from dpo_credit.localise.wording import label, paraphrased, sentence, to_prompts
from dpo_credit.segments import word_spans
from dpo_credit.views.page.cells import Span, cell_groups
from dpo_credit.views.page.frame import block_hash, environment, shades, source, verbatim, writing
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale, Shading

if TYPE_CHECKING:
    from dpo_credit.localise.localise import Localised

REWARD = "-reward"
DRAWN = 10  # answers at either end


def render(localised: Localised) -> str:
    """The page; it needs no script."""
    from dpo_credit.localise.curves import curves

    report, templates = localised.report, environment()
    templates.filters["score"] = label
    style = Markup(verbatim(templates, "style.css") + verbatim(templates, "localise.css") + shades("orange-blue"))
    ordered = _ordered(report)
    count = min(DRAWN, (len(ordered) + 1) // 2)
    best, worst = ordered[:count], ordered[count:][: -DRAWN - 1 : -1]
    scales = dict(zip(ordered, Shading(report.unit).scales([localised.wrong[n] for n in ordered]), strict=True))
    drawn = {n: _answer(report, report.cases[n], localised.wrong[n], scales[n]) for n in (*best, *worst)}
    return templates.get_template("localise.html").render(
        title=f"Does the reward find the wrong {report.unit}s?",
        report=report,
        sentence=sentence(report),
        paraphrased=None if report.paraphrased is None else paraphrased(report.paraphrased),
        moved=_moved(report.paraphrased),
        to_prompts=to_prompts(report),
        ours=report.finding(REWARD),
        rival=report.finding(report.best),
        against=next(comparison for comparison in report.comparisons if comparison.baseline == report.best),
        curves=[_curve(curve, report.best) for curve in curves(report)],
        base_rate=report.wrong_units / report.units,
        scale=scales[ordered[0]],
        best=[drawn[n] for n in best],
        worst=[drawn[n] for n in worst],
        source=source(localised.wrong),
        style=style,
        style_hash=block_hash(style),
    )


def _moved(found: Paraphrased | None) -> list[Fact]:
    """The facts whose credit moved most with the words."""
    facts = [] if found is None else sorted(found.each, key=lambda fact: -abs(fact.reworded_credit - fact.credit))
    return [replace(fact, text=visible(fact.text), reworded=visible(fact.reworded)) for fact in facts[:DRAWN]]


def _ordered(report: LocaliseReport) -> list[int]:
    """The answers that can be ranked, best first; of equal ones, the wider gap between wrong and right."""

    def key(n: int) -> tuple[float, float]:
        case = report.cases[n]
        scores = list(zip(case.scores[REWARD], case.errors, strict=True))
        gap = min(s for s, error in scores if error >= 0) - max(s for s, error in scores if error < 0)
        return case.auroc[REWARD] or 0.0, gap

    ranked = [n for n, case in enumerate(report.cases) if case.auroc[REWARD] is not None]
    return sorted(ranked, key=key, reverse=True)


def _answer(report: LocaliseReport, case: LabelledAnswer, credit: Credit, scale: Scale) -> dict[str, Any]:
    segments = credit.segments
    places = {segment.start: n for n, segment in enumerate(segments)} | {len(credit.rewards): len(segments)}
    bounds = [(places[s.start], places[s.stop]) for s in credit.by(report.unit)]
    return {
        "id": visible(case.id),
        "auroc": case.auroc[REWARD],
        **writing(case.answer),
        "groups": cell_groups(segments, bounds, _spans(credit, case), report.unit, scale),
        "errors": [_error(case, n) for n in range(len(case.labels))],
        "units": len(case.units),
    }


def _spans(credit: Credit, case: LabelledAnswer) -> list[Span]:
    """The segments that hold each error's characters, numbered from 1."""
    spans, offset = [], 0
    starts = []
    for segment in credit.segments:
        starts.append((offset, offset + len(segment.text)))
        offset += len(segment.text)
    for number, error in enumerate(case.labels, 1):
        inside = [n for n, (start, end) in enumerate(starts) if start < error.end and error.start < end]
        spans.append((inside[0], inside[-1] + 1, number))
    return spans


def _error(case: LabelledAnswer, n: int) -> dict[str, Any]:
    error = case.labels[n]
    scores = case.scores[REWARD]
    own = [scores[u] for u, name in enumerate(case.errors) if name == n]
    return {
        "text": visible(_whole_words(case.answer, error.start, error.end)),
        "original": None if error.original is None else visible(error.original),
        "kind": visible(error.kind),
        "rank": 1 + sum(score > max(own) for score in scores) if own else None,
    }


def _whole_words(text: str, start: int, end: int) -> str:
    """The marked characters with the rest of their words: a label may mark one digit."""
    bounds = {0, len(text), *(at for span in word_spans(text) for at in span)}
    while start not in bounds and re.match(r"[\w$%'-]", text[start - 1]):
        start -= 1
    while end not in bounds and re.match(r"[\w$%'-]", text[end]):
        end += 1
    return text[start:end]


def _curve(curve: Any, best: str) -> dict[str, Any]:
    """Points in a box of 100 by 100, y down."""

    def points(line: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{100 * x:.1f},{100 * (1 - y):.1f}" for x, y in line)

    kind = "k1" if curve.name == REWARD else "k2" if curve.name == best else "other"
    return {"name": curve.name, "kind": kind, "roc": points(curve.roc), "pr": points(curve.precision_recall)}

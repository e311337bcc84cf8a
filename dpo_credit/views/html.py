"""Credits as one self-contained HTML page, from the Jinja templates with autoescape on: model and post text is data.

The page is whole without JavaScript; page.js redraws the cells from each entry's numbers to add the rest.
"""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mode
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dpo_credit.align import Diff, diff
from dpo_credit.credit import Credit, CreditError
from dpo_credit.views.html_cells import STEPS, Span, cell_groups, cut_at_edits
from dpo_credit.views.html_chart import chart
from dpo_credit.views.html_text import minus, signed, spoken, trimmed, visible
from dpo_credit.views.scale import Palette, Scale, Shading, Unit, shade

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "templates", _PACKAGE.parent / "templates")  # in a wheel; in a source tree
UNITS: tuple[Unit, ...] = get_args(Unit)
_WHOLE = 20  # up to so many entries are whole without JavaScript; beyond, cells and tables of tokens need it
_ENDS = {
    "appended": "end token appended",
    "template": "closed by the chat template",
    "in-text": "end token in the text",
    "none": "no end token",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Answers to one prompt and what they are called; `prompt` as it is shown, or empty."""

    id: str
    credits: tuple[Credit, ...]
    labels: tuple[str, ...]
    prompt: str = ""


def render(entries: Sequence[Entry], shading: Shading = Shading(), title: str = "dpo-credit") -> str:
    """One self-contained page: an answer, the diff of two, several by reward; or an index that opens many of these.

    Raises:
        CreditError: there is nothing to show, or two answers of an entry do not compare.
    """
    if not entries or not all(entry.credits for entry in entries):
        raise CreditError("No answers to show. Give at least one scored answer.")
    source = _source([credit for entry in entries for credit in entry.credits])
    return page("page.html", entries, {"many": len(entries) > 1, "source": source}, title=title, shading=shading)


def page(
    template: str,
    entries: Sequence[Entry],
    figures: Mapping[str, Any],
    *,
    title: str,
    shading: Shading = Shading(),
    styles: Sequence[str] = ("style.css",),
) -> str:
    """A template that is `page.html` or extends it: what all pages share, and the `figures` of its own.

    Of those, `many` says whether the entries stand in an index, and `source` what they rest on.
    """
    environment = _environment()
    whole = len(entries) <= _WHOLE
    views = [_entry(entry, shading, f"e{n}" if figures["many"] else "", whole) for n, entry in enumerate(entries, 1)]
    style = Markup("".join(_verbatim(environment, name) for name in styles) + _shades(shading.palette))
    script = Markup(_verbatim(environment, "page.js"))
    return environment.get_template(template).render(
        title=visible(title),
        entries=views,
        decimals=mode(view["decimals"] for view in views) if views else 2,
        unit=shading.unit,
        units=UNITS,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        **figures,
    )


def fragment(credit: Credit) -> str:
    """The answer as shaded text with its reward, self-contained, for a notebook's cell."""
    (scale,) = Shading().scales([credit])
    cells = []
    for segment in credit.segments:
        background, text = scale.shade(segment.reward, "light")
        below = segment.reward < 0 and scale.strength(segment.reward) > 0
        segment = segment._replace(text=visible(segment.text), piece=visible(segment.piece))
        cells.append({"segment": segment, "background": f"rgb{background}", "text": f"rgb{text}", "below": below})
    return _environment().get_template("credit.html").render(credit=credit, cells=cells, scale=scale)


def _environment() -> Environment:
    # autoescape for every name: Jinja's select_autoescape goes by the file's extension
    environment = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, minus=minus, spoken=spoken, trimmed=trimmed, visible=visible)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return environment


def _verbatim(environment: Environment, name: str) -> str:
    """A file of the templates as it is: CSS and JavaScript have braces of their own."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(text: str) -> str:
    """What the page's Content-Security-Policy knows an inline block by."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shades(palette: Palette) -> str:
    """A class for each shade; what is clearly below zero is underlined, and the strongest are bold."""
    rules = []
    stops = []
    for step in range(STEPS):
        position = 2 * step / (STEPS - 1) - 1
        (light, on_light), (dark, on_dark) = shade(position, "light", palette), shade(position, "dark", palette)
        rule = f"background:light-dark(rgb{light},rgb{dark});color:light-dark(rgb{on_light},rgb{on_dark})"
        rule += ";text-decoration-line:underline" if position < -0.12 else ""
        rule += ";font-weight:650" if abs(position) >= 0.75 else ""
        rules.append(f".s{step}{{{rule}}}")
        stops.append(f"light-dark(rgb{light},rgb{dark})")
    # the shades run straight from each end to the middle, so a gradient through these three shows them all
    ends = ",".join((stops[0], stops[STEPS // 2], stops[-1]))
    return "\n".join((*rules, f".bar{{background:linear-gradient(to right,{ends})}}")) + "\n"


def _source(credits: Sequence[Credit]) -> list[tuple[str, str]]:
    """What all rewards on the page rest on; values that differ between answers are listed."""

    def listed(values: list[str]) -> str:
        return visible(", ".join(dict.fromkeys(values)))

    return [
        ("policy", listed([credit.source.policy for credit in credits])),
        ("reference", listed([credit.source.reference for credit in credits])),
        ("beta", listed([_beta(credit) for credit in credits])),
        ("end of sequence", listed([_ENDS.get(credit.tokens.end, credit.tokens.end) for credit in credits])),
        ("dtype", listed([credit.source.dtype for credit in credits])),
    ]


def _beta(credit: Credit) -> str:
    return f"{credit.beta:g}" + " / T, length-normalised: T is the answer's tokens" * credit.length_normalised


def _entry(entry: Entry, shading: Shading, anchor: str, whole: bool) -> dict[str, Any]:
    each = list(zip(entry.credits, entry.labels, strict=True))
    if len(each) > 2:
        each.sort(key=lambda pair: -pair[0].reward)
    credits = [credit for credit, _ in each]
    scales = {unit: replace(shading, unit=unit).scales(credits) for unit in UNITS}
    aligned = diff(*credits) if len(each) == 2 else None
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
    if len(segments) < len(rewards):
        data["sizes"] = [segment.stop - segment.start for segment in segments]
    for name, tops in (("policyTop", credit.policy_top), ("referenceTop", credit.reference_top)):
        if tops:
            data[name] = [[(visible(a.piece), round(a.logp, 4)) for a in tops[s.start]] for s in segments]
    return {
        "data": data,
        "label": visible(label),
        "credit": credit,
        "segments": segments if static else (),
        "groups": cell_groups(segments, bounds[static], edits, static, scales[static]) if static else (),
        "parts": cut_at_edits(segments, (0, len(segments)), edits),
        "direction": _direction(credit.tokens.answer),
        "scale": scales[static or "token"],
        "rose": [reward for reward in rewards if reward > 0],
        "fell": [reward for reward in rewards if reward < 0],
    }


def _direction(text: str) -> str:
    """Where the text's first letter with a direction would have it run."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return "ltr" if strong == "L" else "rtl"


def _gist(answers: list[dict[str, Any]], aligned: Diff | None) -> list[tuple[str, str]]:
    """What an index says of an entry: its first edits, or how its first answer begins."""
    if aligned is None or not aligned.edits:
        return [(_short(answers[0]["credit"].tokens.answer, 90), "")]
    return [(_short(edit.chosen_text, 30), _short(edit.rejected_text, 30)) for edit in aligned.edits[:3]]


def _short(text: str, length: int) -> str:
    text = visible(text.strip())
    return (text if len(text) <= length else text[: length - 1] + "…") or "∅"

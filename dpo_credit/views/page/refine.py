"""A refiner's answers as one self-contained page: refined prompts token by token, pictures with their maps, and a bar
for what words and pixels add to the margin. It needs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from markupsafe import Markup

from dpo_credit.refine.credit import RefinedCredit
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.chats import prompt_text
from dpo_credit.views import image
from dpo_credit.views.image import Side
from dpo_credit.views.page.cells import cell_groups
from dpo_credit.views.page.frame import block_hash, environment, shades, source, verbatim, writing
from dpo_credit.views.page.image import colours, maps_of, plate
from dpo_credit.views.page.text import visible
from dpo_credit.views.refine import Part, frames_of, parts, probability, starts_of
from dpo_credit.views.scale import Palette, Scale, Shading, decimals_for
from dpo_credit.views.wording import extent

_STYLES = ("style.css", "image.css", "refine.css")


def render(rows: Sequence[ScoredRefinement], palette: Palette = "orange-blue") -> str:
    """The page, a section a row."""
    templates = environment()
    sheets = "".join(verbatim(templates, name) for name in _STYLES)
    style = Markup(sheets + shades(palette) + colours(palette))
    credits = [answer.words for row in rows for answer in (row.diff.chosen, row.diff.rejected)]
    first = rows[0].drawn[0][0]
    gammas = ", ".join(sorted({f"{row.diff.chosen.frames[0].beta:g}" for row in rows}))
    basis = [
        (f"refiner's {name}" if name in ("policy", "reference") else name, value) for name, value in source(credits)
    ]
    basis += [("image policy", first.source.policy), ("image reference", first.source.reference), ("gamma", gammas)]
    return templates.get_template("refine.html").render(
        title=visible(rows[0].id if len(rows) == 1 else f"{len(rows)} requests"),
        rows=[_row(row, palette) for row in rows],
        source=[(name, visible(value)) for name, value in basis],
        style=style,
        style_hash=block_hash(style),
    )


def _row(scored: ScoredRefinement, palette: Palette) -> dict[str, Any]:
    diff, frames = scored.diff, frames_of(scored)
    answers = (diff.chosen, diff.rejected)
    scales = Shading(palette=palette).scales([answer.words for answer in answers])
    drawn = [[maps_of(side.credit)[0] for side in frame] for frame in frames]
    maps = image.scale_of(chain.from_iterable(drawn), palette)
    level = image.level_of(chain.from_iterable(drawn))
    rows = parts(diff)
    decimals = decimals_for(max(abs(row.value) for row in rows))
    return {
        "id": visible(scored.id),
        "request": visible(prompt_text(scored.row.request)),
        "probability": probability(diff),
        "parts": _bars(rows, decimals),
        "several": len(frames) > 1,
        "scale": scales[0],
        "decimals": scales[0].decimals,
        "credit": diff.chosen.words,
        "limits": [image.with_error(sign * maps.limit, float("nan"), maps.decimals) for sign in (-1, 1)],
        "cell": image.cell_of(frames[0][0].credit),
        "sampled": image.sampled(frames[0][0].credit),
        "level": f"{level:.{maps.decimals}f}",
        "notes": [visible(note) for note in scored.notes],
        "answers": [
            _answer(label, answer, scales[n])
            | {
                "frames": [
                    _frame(frame[n], k, plate(frame[n], values[n], maps, level))
                    for k, (frame, values) in enumerate(zip(frames, drawn, strict=True), 1)
                ]
            }
            for n, (label, answer) in enumerate(zip(("chosen", "rejected"), answers, strict=True))
        ],
    }


def _frame(side: Side, number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    credit = side.credit
    reward = image.with_error(credit.reward, credit.reward_error, decimals_for(abs(credit.reward)))
    return {**drawn, "alt": f"{side.label}, picture {number}", "reward": reward}


def _answer(label: str, refined: RefinedCredit, scale: Scale) -> dict[str, Any]:
    credit = refined.words
    segments = credit.segments
    decimals = decimals_for(max(abs(value) for value in (refined.reward, credit.reward, refined.pixels)))
    sums = [
        image.with_error(value, float("nan"), decimals) for value in (refined.reward, credit.reward, refined.pixels)
    ]
    return {
        "label": label,
        "sums": sums,
        "credit": credit,
        "extent": extent(credit.tokens),
        **writing(credit.tokens.answer),
        "groups": cell_groups(segments, [(n, n + 1) for n in range(len(segments))], [], "token", scale),
    }


def _bars(rows: Sequence[Part], decimals: int) -> list[dict[str, Any]]:
    """Each part with a bar from where the one before ended, in hundredths of the widest stretch."""
    starts = starts_of(rows)
    ends = [start + row.value for start, row in zip(starts, rows, strict=True)]
    low, high = min(0.0, *starts, *ends), max(0.0, *starts, *ends)
    wide = (high - low) or 1.0
    return [
        {
            "name": row.name,
            "value": image.with_error(row.value, row.error, decimals),
            "x": f"{100 * (min(start, end) - low) / wide:.2f}",
            "width": f"{100 * abs(row.value) / wide:.2f}",
            "zero": f"{100 * -low / wide:.2f}",
            "below": row.value < 0,
            "thin": row.name.startswith("frame"),
        }
        for row, start, end in zip(rows, starts, ends, strict=True)
    ]

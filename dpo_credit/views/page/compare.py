"""Several policies on the same answers as one self-contained page, without a script."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from dpo_credit.compare.comparison import Comparison
from dpo_credit.views.page.cells import cell_groups
from dpo_credit.views.page.frame import block_hash, environment, shades, source, verbatim, writing
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale, Shading

ROWS = 20  # whose answers are drawn: those with the widest ranges, where there are more
WORDS, OF_ONE = 30, 10  # of a data set, and of a single row


def render(comparison: Comparison, shading: Shading = Shading()) -> str:
    """The page: the policies in figures, how far they agree, where they do not, and the answers."""
    templates = environment()
    style = Markup(
        "".join(verbatim(templates, name) for name in ("style.css", "localise.css", "compare.css"))
        + shades(shading.palette)
    )
    credits = [credit for its in comparison.credits for answers in its for credit in answers]
    scale = shading.scales(credits)[0]
    unit = shading.unit if shading.unit != "token" else "word"
    words = comparison.disagreements(unit)
    drawn = list(dict.fromkeys(word.row for word in words))[:ROWS]
    return templates.get_template("compare.html").render(
        title="Policies compared",
        names=[visible(name) for name in comparison.names],
        everyone=[visible(name) for name in comparison.everyone],
        summaries=comparison.summaries(),
        matrices=comparison.agreements(),
        unit=unit,
        words=[
            {
                "text": visible((word.segments[0].text or word.segments[0].piece).strip()),
                "id": visible(
                    " ".join(
                        filter(None, (comparison.rows[word.row].id, comparison.rows[word.row].labels[word.answer]))
                    )
                ),
                "rewards": word.rewards,
                "range": word.range,
            }
            for word in words[: WORDS if len(comparison.rows) > 1 else OF_ONE]
        ],
        rows=[_row(comparison, n, shading, scale) for n in drawn],
        count=len(comparison.rows),
        per=shading.unit,
        scale=scale,
        betas=", ".join(f"{beta:g}" for beta in sorted({credit.beta for credit in credits})),
        source=source(credits),
        style=style,
        style_hash=block_hash(style),
    )


def _row(comparison: Comparison, n: int, shading: Shading, scale: Scale) -> dict[str, Any]:
    row = comparison.rows[n]
    answers = []
    for k, label in enumerate(row.labels):
        credits = [its[n][k] for its in comparison.credits]
        segments = credits[0].segments
        places = {segment.start: m for m, segment in enumerate(segments)} | {len(credits[0].rewards): len(segments)}
        bounds = [(places[unit.start], places[unit.stop]) for unit in credits[0].by(shading.unit)]
        answers.append(
            {
                "label": visible(label),
                **writing(credits[0].tokens.answer),
                "policies": [
                    {
                        "name": visible(name),
                        "reward": credit.reward,
                        "groups": cell_groups(credit.segments, bounds, [], shading.unit, scale),
                    }
                    for name, credit in zip(comparison.names, credits, strict=True)
                ],
                "judges": [
                    {"name": visible(judge.name), "reward": judge.rewards[n][k]} for judge in comparison.explicit
                ],
            }
        )
    return {"id": visible(row.id), "answers": answers}

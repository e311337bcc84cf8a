"""A search over a data set as one self-contained page: the figures, and each row's answers with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from dpo_credit.evaluate.beams import Search, chosen_tokens, figures, sentence
from dpo_credit.views.html_frame import block_hash, environment, verbatim
from dpo_credit.views.html_text import visible

ROWS = 50  # whose answers are shown


def render(found: Sequence[Search], labels: Sequence[str]) -> str:
    """The page; it needs no script."""
    templates = environment()
    style = Markup(
        verbatim(templates, "style.css") + verbatim(templates, "report.css") + verbatim(templates, "beams.css")
    )
    return templates.get_template("beams.html").render(
        title="Search by number of beams",
        searches=[_search(one, label) for one, label in zip(found, labels, strict=True)],
        style=style,
        style_hash=block_hash(style),
    )


def _search(search: Search, label: str) -> dict[str, Any]:
    settings = search.settings
    return {
        "label": visible(label or str(settings["policy"])),
        "settings": [(name.replace("_", " "), visible(str(value))) for name, value in settings.items()],
        "widths": figures(search),
        "chosen": chosen_tokens(search),
        "sentence": sentence(search),
        "beams": search.beams,
        "rows": search.rows[:ROWS],
        "count": len(search.rows),
    }

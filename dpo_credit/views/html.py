"""A Credit as HTML, from the Jinja templates with autoescape on: model and post text is data."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dpo_credit.credit import Credit
from dpo_credit.views.scale import Shading

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "templates", _PACKAGE.parent / "templates")  # in a wheel; in a source tree


def fragment(credit: Credit) -> str:
    """The answer as shaded text with its reward, self-contained, for a notebook's cell."""
    (scale,) = Shading().scales([credit])
    cells = []
    for segment in credit.segments:
        background, text = scale.shade(segment.reward, "light")
        below = segment.reward < 0 and scale.strength(segment.reward) > 0
        cells.append({"segment": segment, "background": f"rgb{background}", "text": f"rgb{text}", "below": below})
    return _environment().get_template("credit.html").render(credit=credit, cells=cells, scale=scale)


def _environment() -> Environment:
    # autoescape for every name: Jinja's select_autoescape goes by the file's extension
    return Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""What every page of ours has in common: the templates, the style with its shades, and what its numbers rest on."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import regex
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dpo_credit.credit import Credit
from dpo_credit.views.look import direction
from dpo_credit.views.page.cells import STEPS
from dpo_credit.views.page.text import minus, signed, spoken, trimmed, visible
from dpo_credit.views.scale import Palette, shade

_PACKAGE = Path(__file__).parents[2]
_FOLDERS = (_PACKAGE / "templates", _PACKAGE.parent / "templates")  # in a wheel; in a source tree
_JOINED = regex.compile(r"[\p{Joining_Type=D}\p{Script=Deva}\p{Script=Beng}\p{Script=Guru}]")
_ENDS = {
    "appended": "end token appended",
    "template": "closed by the chat template",
    "in-text": "end token in the text",
    "none": "no end token",
}


def environment() -> Environment:
    """Jinja over our templates, with everything that is no template of ours escaped."""
    # autoescape for every name: Jinja's select_autoescape goes by the file's extension
    made = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(signed=signed, minus=minus, spoken=spoken, trimmed=trimmed, visible=visible)
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return made


def verbatim(environment: Environment, name: str) -> str:
    """A file of the templates as it is: CSS and JavaScript have braces of their own."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def block_hash(text: str) -> str:
    """What the page's Content-Security-Policy knows an inline block by."""
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def shades(palette: Palette) -> str:
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


class Basis:
    """What all rewards on a page rest on, credit by credit; values that differ between answers are listed."""

    def __init__(self) -> None:
        names = ("policy", "reference", "beta", "end of sequence", "turns that count", "date", "dtype")
        self._values: dict[str, dict[str, None]] = {name: {} for name in names}

    def add(self, credit: Credit) -> None:
        """Take an answer in."""
        tokens, made = credit.tokens, credit.source
        several = tokens.scored if tokens.roles or tokens.scored != "all" else ""
        values = (made.policy, made.reference, _beta(credit), _ENDS.get(tokens.end, tokens.end))
        for held, value in zip(self._values.values(), (*values, several, tokens.date, made.dtype), strict=True):
            held[value] = None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Each fact and its values; turns and dates where there are any."""
        optional = ("turns that count", "date")
        listed = {
            name: [value for value in values if value or name not in optional] for name, values in self._values.items()
        }
        return [(name, visible(", ".join(values))) for name, values in listed.items() if values or name not in optional]


def source(credits: Iterable[Credit]) -> list[tuple[str, str]]:
    """What the rewards of these answers rest on; see `Basis`."""
    basis = Basis()
    for credit in credits:
        basis.add(credit)
    return basis.facts


def writing(text: str) -> dict[str, Any]:
    """How a text is written, for the templates.

    `direction` is where its first letter with one would have it run; `joined`, whether letters of it touch their
    neighbours, as in Arabic, Mongolian or Devanagari.
    """
    return {"direction": direction(text), "joined": bool(_JOINED.search(text))}


def _beta(credit: Credit) -> str:
    return f"{credit.beta:g}" + " / T, length-normalised: T is the answer's tokens" * credit.length_normalised

"""Public pairs of a policy and its reference, by name, with the beta each was trained with and where that stands.

The data is `published.toml`. Nothing here asks the network, so a name may have moved since its source was read.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from dpo_credit.credit import CreditError


@dataclass(frozen=True, slots=True)
class Published:
    """A public pair.

    `policy` and `reference` are names on the hub; both are None for the embedded pair. `format` is how its prompts are
    written, `source` where its beta stands, `licence` the models' own, as far as we know it. `revision` is as for
    --revision. `run`: whether we have scored with it ourselves.
    """

    name: str
    beta: float
    format: str
    source: str
    policy: str | None = None
    reference: str | None = None
    length_normalised: bool = False
    revision: str | None = None
    licence: str | None = None
    note: str = ""
    run: bool = False


@cache
def published() -> tuple[Published, ...]:
    """Every pair we know of, the embedded one first."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return tuple(Published(name, **fields) for name, fields in tomllib.loads(text).items())


def named(name: str) -> Published:
    """The pair of that name, whatever its case.

    Raises:
        CreditError: there is none; the message lists the names that come close.
    """
    known = {pair.name: pair for pair in published()}
    if name.lower() in known:
        return known[name.lower()]
    close = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise CreditError(f"{name} is none of the {len(known)} pairs known here. {hint}dpo-credit pairs lists them.")

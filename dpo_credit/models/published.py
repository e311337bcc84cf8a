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

EMBEDDED = Path(__file__).parents[1] / "demo"  # what comes with the package
_DATA = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Base:
    """The model that a pair's adapters sit on, a GGUF file, and where it is to be had.

    `package` is on PyPI, with the file in its wheel; `repository` on the hub, at `revision`. `megabytes` are to be
    downloaded.
    """

    file: str
    sha256: str
    megabytes: int
    package: str
    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class Published:
    """A public pair.

    `policy` and `reference` are names on the hub; both are None for a pair that comes with the package: the embedded
    ones, or adapters on a `base` that is fetched. `format` is how its prompts are written, `source` where its beta
    stands, `licence` the models' own, as far as we know it. `revision`, `subfolder` and `adapter_base` are as for
    --revision, --subfolder and --base. `loss` is TRL's name for it. `inference`: what of the entry no source says.
    `run`: whether we have scored with it ourselves.
    """

    name: str
    beta: float
    format: str
    source: str
    policy: str | None = None
    reference: str | None = None
    length_normalised: bool = False
    loss: str = "sigmoid"
    revision: str | None = None
    subfolder: str | None = None
    adapter_base: str | None = None
    licence: str | None = None
    note: str = ""
    inference: str = ""
    run: bool = False
    base: Base | None = None

    @property
    def adapters(self) -> Path | None:
        """Where the policy's adapter is, the reference's in the folder "ref" in it; None unless it has a `base`."""
        return None if self.base is None else EMBEDDED / self.name

    @property
    def names(self) -> tuple[str | None, str | None]:
        """The policy and the reference, as `load_pair` takes them."""
        if self.adapters is not None:
            return str(self.adapters), None
        return (self.name, self.name) if self.policy is None else (self.policy, self.reference)

    @property
    def embedded(self) -> Path | None:
        """The folder of its policy and reference, where both come with the package as they are."""
        if self.policy is not None or self.base is not None:
            return None
        return EMBEDDED / self.name.removeprefix("embedded").removeprefix("-")


@cache
def published() -> tuple[Published, ...]:
    """Every pair we know of, the embedded one first; those that come as adapters where these are there."""
    text = _DATA.read_text(encoding="utf-8")
    pairs = (
        Published(name, **{**fields, "base": Base(**fields["base"]) if "base" in fields else None})
        for name, fields in tomllib.loads(text).items()
    )
    return tuple(pair for pair in pairs if pair.adapters is None or pair.adapters.is_dir())


def named(name: str) -> Published:
    """The pair of that name, whatever its case; "tiny" is the embedded one.

    Raises:
        CreditError: there is none; the message lists the names that come close.
    """
    known = {pair.name: pair for pair in published()}
    known["tiny"] = known["embedded"]
    if name.lower() in known:
        return known[name.lower()]
    close = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise CreditError(f"{name} is none of the {len(published())} pairs known here. {hint}dpo-credit pairs lists them.")

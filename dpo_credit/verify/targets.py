"""Somebody's numbers to be compared with ours, row by row, and what a trial of conventions makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpo_credit.verify.conventions import Convention


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody's numbers for chosen and rejected, a row each (None where it gave none), or their means over all rows.

    `who` stands before what they did in a sentence. `batches`: the means are those of batches, averaged, of
    one of these sizes (the one that fits best); without any, of all rows.
    `loss`: theirs, where they logged it.
    """

    name: str
    who: str
    numbers: tuple[tuple[float, float] | None, ...]
    quantity: Literal["reward", "reference_logp"] = "reward"
    means: bool = False
    batches: tuple[int, ...] = ()
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Ours and theirs for one row (or the means): (chosen, rejected) each, and by how much they may differ."""

    row: int
    ours: tuple[float, float] | None
    theirs: tuple[float, float]
    tolerance: tuple[float, float] = (0.0, 0.0)

    @property
    def difference(self) -> float:
        """The larger of the two; infinite where we have no number."""
        if self.ours is None:
            return math.inf
        return max(abs(a - b) for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def agrees(self) -> bool:
        return self.ours is not None and all(
            abs(a - b) <= most for a, b, most in zip(self.ours, self.theirs, self.tolerance, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What some conventions (none: the options given) make of a target: how many of its `of` rows agree.

    `largest` is the largest difference of those that can be compared; `rms` is in nats. `also` names what gives the
    same numbers on these rows.
    """

    conventions: tuple[Convention, ...]
    agreeing: int
    of: int
    largest: float | None
    rms: float
    meets: bool
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ", ".join(convention.name for convention in self.conventions) or "the options given"

    @property
    def flags(self) -> str:
        """Our flags that lead there; "" if there are none for some of it."""
        return (
            " ".join(convention.flags for convention in self.conventions)
            if all(convention.flags for convention in self.conventions)
            else ""
        )


def mean_of_batches(values: Sequence[tuple[float, float]], batch: int) -> tuple[float, float]:
    """The mean of the means of batches, as TRL logs it: a last batch that is smaller weighs as much as the others."""
    parts = [values[n : n + batch] for n in range(0, len(values), batch)]
    chosen, rejected = (
        math.fsum(math.fsum(pair[side] for pair in part) / len(part) for part in parts) / len(parts) for side in (0, 1)
    )
    return chosen, rejected

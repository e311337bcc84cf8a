"""Which rows of a scored data set stay: those that meet all conditions, and of these one end by a quantity.

"Keep the smallest tenth of margins" (arXiv 2508.04149) and "keep the largest" (2502.14560) are two ends of one
quantity. An end needs all rows before it is known: memory grows by some 20 bytes a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dpo_credit.credit import CreditError
from dpo_credit.filter.conditions import Condition, End
from dpo_credit.filter.quantities import values_of
from dpo_credit.rows.scored import ScoredRow


@dataclass(slots=True)
class Counts:
    """How many rows there were, met all conditions, and stayed; and how many had none of a quantity, by its name.

    `ends` are the lowest and the highest value at the end that stayed, where one was asked for.
    """

    rows: int = 0
    met: int = 0
    kept: int = 0
    without: dict[str, int] = field(default_factory=dict)
    ends: tuple[float, float] | None = None


class Filter:
    """What a row has to be to stay.

    Args:
        conditions: each row has to meet all of them; one that lacks a quantity does not.
        end: of the rows that do, this end alone.
        invert: the other rows stay instead.

    Raises:
        CreditError: nothing is asked for.
    """

    def __init__(self, conditions: Sequence[Condition], end: End | None = None, *, invert: bool = False) -> None:
        if not conditions and end is None:
            raise CreditError(
                "there is nothing to filter by. Give --margin '< 0', --smallest 10% or another condition."
            )
        self.conditions, self.end, self.invert = conditions, end, invert
        self.counts = Counts()

    def stays(self, row: ScoredRow) -> bool:
        """Whether a row stays, where no end is asked for; it is counted."""
        stays = self._meets(row) != self.invert
        self.counts.kept += stays
        return stays

    def those_that_stay(self, rows: Iterable[ScoredRow | None]) -> list[bool]:
        """Whether each of all rows stays, where an end is asked for; None, a row that is none, does not.

        Of rows with the same value those that come first are taken first.
        """
        assert self.end is not None
        values, usable = array("d"), bytearray()
        for row in rows:
            value = self._value(row) if row is not None and self._meets(row) else np.nan
            values.append(value)
            usable.append(row is not None)
        numbers = np.array(values)
        there = np.flatnonzero(~np.isnan(numbers))
        order = np.argsort(numbers[there] if self.end.which == "smallest" else -numbers[there], kind="stable")
        ends = there[order[: self.end.size(len(there))]]
        kept = np.zeros(len(numbers), dtype=bool)
        kept[ends] = True
        if len(ends):
            self.counts.ends = float(numbers[ends].min()), float(numbers[ends].max())
        if self.invert:
            kept = ~kept & (np.frombuffer(usable, dtype=np.uint8) > 0)
        self.counts.kept = int(kept.sum())
        return kept.tolist()

    def _meets(self, row: ScoredRow) -> bool:
        self.counts.rows += 1
        answers = [condition.meets(row) for condition in self.conditions]
        for quantity in {c.quantity for c, answer in zip(self.conditions, answers, strict=True) if answer is None}:
            self._lacks(str(quantity))
        met = all(answers)
        self.counts.met += met
        return met

    def _value(self, row: ScoredRow) -> float:
        assert self.end is not None
        values = values_of(row, self.end.quantity, self.end.side)
        if not values:
            self._lacks(self.end.quantity)
            return np.nan
        return sum(values) / len(values)

    def _lacks(self, quantity: str) -> None:
        self.counts.without[quantity] = self.counts.without.get(quantity, 0) + 1

    def summary(self) -> list[str]:
        """What to say of all rows, once they have been through."""
        counts, asked = self.counts, " and ".join(map(str, self.conditions))
        if self.end is not None:
            of = f" of the {counts.met:,} rows with {asked}" if asked else ""
            asked = f"{self.end}{of}"
            if counts.ends is not None:
                asked += ", {:.4g} to {:.4g}".format(*counts.ends)
        share = f" ({counts.kept / counts.rows:.1%})" if counts.rows else ""
        but = "all but " if self.invert else ""
        lines = [f"{counts.kept:,} of {counts.rows:,} rows kept{share}: {but}{asked}"]
        for quantity, rows in counts.without.items():
            what = "1 row has" if rows == 1 else f"{rows:,} rows have"
            lines.append(f"{what} no {quantity}: {_REASONS.get(quantity, 'no such answer')}")
        return lines


_REASONS = {
    "margin": "a preference alone has one",
    "abs-margin": "a preference alone has one",
    "disagreement": "it is of a preference whose tokens earned anything",
}

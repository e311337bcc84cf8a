"""Rows that cannot be used: set aside and listed where a command takes many, or the first of them stops it."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from dpo_credit.credit import CreditError
from dpo_credit.rows.tally import Kind, Tally


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be used: its id, where it stood, and what is wrong with it."""

    id: str
    place: str
    error: str


class SetAside:
    """The rows that were set aside, as they were found; where it is `strict`, none is and the first stops the work."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.rows: list[BadRow] = []

    def add(self, row_id: str, place: str, error: CreditError) -> None:
        """Set a row aside.

        Raises:
            CreditError: what is wrong with the row and where it stood, if the first one stops the work.
        """
        bad = BadRow(row_id, place, str(error))
        if self.strict:
            raise CreditError(_placed(bad)) from error
        self.rows.append(bad)

    def require(self, left: Sized) -> None:
        """Refuse to go on without a row.

        Raises:
            CreditError: nothing is left, since all were set aside.
        """
        if self.rows and not left:
            others = f" No other of the {len(self.rows):,} rows can be used either." if len(self.rows) > 1 else ""
            raise CreditError(_placed(self.rows[0]) + others)

    @property
    def lines(self) -> list[str]:
        """A line for each kind of error, with how many rows have it, and the first of them."""
        tally = Tally()
        for row in self.rows:
            tally.add(row.id, [row.error])
        return [self._line(kind) for kind in tally.kinds]

    def _line(self, kind: Kind) -> str:
        first = next(row for row in self.rows if (row.id, row.error) == (kind.name, kind.text))
        return ("1 row set aside: " if kind.count == 1 else f"{kind.count:,} rows set aside, such as ") + _placed(first)


STRICT = SetAside(strict=True)  # what the library does: nothing is ever set aside in it


def _placed(row: BadRow) -> str:
    source = row.place.rpartition(", ")[0]
    return row.error if not source or row.error.startswith(source) else f"{row.place}: {row.error}"

"""Rows that cannot be used: set aside and listed where a command takes many, or the first of them stops it."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from dpo_credit.credit import CreditError
from dpo_credit.rows.tally import Kind, Tally

LISTED = 1000  # bad rows, each with its place and error; those beyond are counted


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be used: its id, where it stood, and what is wrong with it."""

    id: str
    place: str
    error: str


class SetAside:
    """The rows that were set aside: how many, and the first `LISTED` of them in `rows`, as they were found.

    Where it is `strict`, none is and the first stops the work.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.count = 0
        self.rows: list[BadRow] = []
        self._tally = Tally()
        self._first: list[BadRow] = []  # of each kind

    def __repr__(self) -> str:
        return f"SetAside(strict={self.strict})"

    def add(self, row_id: str, place: str, error: CreditError) -> None:
        """Set a row aside.

        Raises:
            CreditError: what is wrong with the row and where it stood, if the first one stops the work.
        """
        bad = BadRow(row_id, place, str(error))
        if self.strict:
            raise CreditError(_placed(bad)) from error
        self.count += 1
        if self.count <= LISTED:
            self.rows.append(bad)
        self._tally.add(row_id, [bad.error])
        if len(self._tally.kinds) > len(self._first):
            self._first.append(bad)

    def require(self, left: Sized) -> None:
        """Refuse to go on without a row.

        Raises:
            CreditError: nothing is left, since all were set aside.
        """
        if self.rows and not left:
            others = f" No other of the {self.count:,} rows can be used either." if self.count > 1 else ""
            raise CreditError(_placed(self.rows[0]) + others)

    @property
    def lines(self) -> list[str]:
        """A line for each kind of error, with how many rows have it, and the first of them."""
        lines = [_line(kind, first) for kind, first in zip(self._tally.kinds, self._first, strict=True)]
        if self.count > LISTED:
            lines.append(
                f"The first {LISTED:,} of the {self.count:,} rows set aside are listed, where a file lists them."
            )
        return lines


STRICT = SetAside(strict=True)  # what the library does: nothing is ever set aside in it


def _placed(row: BadRow) -> str:
    source = row.place.rpartition(", ")[0]
    return row.error if not source or row.error.startswith(source) else f"{row.place}: {row.error}"


def _line(kind: Kind, first: BadRow) -> str:
    return ("1 row set aside: " if kind.count == 1 else f"{kind.count:,} rows set aside, such as ") + _placed(first)

"""Rows with a chosen and a rejected answer, from any source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from dpo_credit.credit import CreditError
from dpo_credit.rows.records import Row, prompt_of
from dpo_credit.rows.sources import Record


@dataclass(frozen=True, slots=True)
class Preference:
    """A row with a chosen and a rejected answer. `implicit`: no field named the prompt, so TRL looks for one itself."""

    row: Row
    implicit: bool = False

    @property
    def is_chat(self) -> bool:
        return not isinstance(self.row.examples[0].prompt, str)


def read_preferences(records: Iterable[Record], limit: int | None = None) -> list[Preference]:
    """The first `limit` rows; all, without one.

    Raises:
        CreditError: there is none, or one has no two answers to compare.
    """
    rows = []
    for record in islice(records, limit):
        row = record.row()
        if row.kind != "preference":
            raise CreditError(f"{row.id} has no chosen and rejected, which is what a DPO trainer takes. Give pairs.")
        rows.append(Preference(row, implicit=prompt_of(record.fields())[0] is None))
    if not rows:
        raise CreditError("there are no rows. Give JSONL with prompt, chosen and rejected.")
    return rows

"""Which rows of a file are read, and which of their fields: options that commands share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dpo_credit.cli.flags import option

if TYPE_CHECKING:
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.reader import Record
    from dpo_credit.rows.records import Answers, Row


@dataclass(frozen=True)
class ReadingOptions:
    """Which fields of a row hold its prompt and its answer, where they have names of their own."""

    prompt_key: Annotated[
        str | None, option("--prompt-key", help="The field that holds the prompt.", show_default=False)
    ] = None
    answer_key: Annotated[
        str | None, option("--answer-key", help="The field that holds the answer.", show_default=False)
    ] = None

    def rows(self, files: Sequence[str], aside: SetAside) -> Iterator[Row]:
        """The rows of files and patterns, or of stdin for `-`, one after the other.

        Raises:
            CreditError: a file cannot be read, or a record is no row and is not set aside.
        """
        from dpo_credit.cli.files import records
        from dpo_credit.rows.reader import read_rows

        return read_rows(records(files), prompt_key=self.prompt_key, answer_key=self.answer_key, aside=aside)


@dataclass(frozen=True)
class PickOptions:
    """Which row of a file that holds several."""

    number: Annotated[
        int | None, option("--row", min=1, help="Which row of a file of several, from 1 on.", show_default=False)
    ] = None
    row_id: Annotated[str | None, option("--id", help="Likewise, by its id.", show_default=False)] = None

    @property
    def picks(self) -> bool:
        """Whether a row is named."""
        return self.number is not None or self.row_id is not None

    def record(self, file: str) -> Record:
        """The record of a file, or of stdin for `-`.

        Raises:
            CreditError: the file cannot be read, or does not hold the one that is meant.
        """
        from dpo_credit.cli.files import record

        return record(file, self.number, self.row_id)

    def row(self, file: str, reading: ReadingOptions | None = None, *, answers: Answers = "required") -> Row:
        """The row of a file, or of stdin for `-`; see `parse_row`.

        Raises:
            CreditError: the file cannot be read, or does not hold the one that is meant.
        """
        from dpo_credit.rows.records import stem

        keys = {} if reading is None else {"prompt_key": reading.prompt_key, "answer_key": reading.answer_key}
        given = self.record(file)
        name = given.default_id if self.picks else stem(given.source)
        return given.row(**keys, default_id=name, answers=answers)

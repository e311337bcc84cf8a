"""Scored files as a command reads them: once with progress on stderr, and again for the rows that it draws."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from typing import BinaryIO

from rich.progress import TimeRemainingColumn

from dpo_credit.cli import files
from dpo_credit.cli.bars import TEXT, bar
from dpo_credit.cli.terminal import Terminal
from dpo_credit.credit import CreditError, margin
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.reader import Record, read_records
from dpo_credit.rows.saved import read_scored
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.sources import expand

Rows = Generator[ScoredRow, None, None]  # a bar stands until it is closed


def usable(records: Iterable[Record], aside: SetAside, beta: float | None = None) -> Rows:
    """`read_scored`, where what is no scored row, or holds answers that do not compare, is set aside.

    Raises:
        CreditError: it is not set aside.
    """
    for record in records:
        try:
            (scored,) = read_scored([record], beta)
            if scored.kind == "preference":
                margin(*scored.credits)
        except CreditError as error:
            aside.add(record.default_id, record.place, error)
        else:
            yield scored


class ScoredFiles:
    """Files of scored rows, its `inputs`. With `again`, what is piped in is kept in a temporary file until the end.

    With `beta`, the rows are as if that had been the policy's.
    """

    def __init__(
        self, names: Sequence[str], aside: SetAside, *, quiet: bool, again: bool, beta: float | None = None
    ) -> None:
        self._aside, self._beta = aside, beta
        self.inputs = expand(names)
        self._quiet = quiet
        self._kept = ExitStack()
        self._stdin: BinaryIO | None = files.stdin() if "-" in names else None
        if self._stdin is not None and again:
            kept = self._kept.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
            shutil.copyfileobj(self._stdin, kept)
            kept.seek(0)
            self._stdin = kept

    def __enter__(self) -> ScoredFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def rows(self) -> Rows:
        """All rows in order.

        Raises:
            CreditError: a file cannot be read, or a line is no scored row and is not set aside.
        """
        return usable(self.records(), self._aside, self._beta)

    def once_more(self) -> Rows:
        """All rows in order, after they were read to the end.

        Raises:
            CreditError: a file cannot be read any more.
        """
        return usable(self.records("Drawing", again=True), SetAside(strict=False), self._beta)

    def records(self, task: str = "Reading", *, again: bool = False) -> Generator[Record, None, None]:
        """All records in order, as they stand in the files; `again` once they were read to the end.

        Raises:
            CreditError: a file cannot be read.
        """
        if again and self._stdin is not None:
            self._stdin.seek(0)
        stderr = Terminal(stderr=True, quiet=self._quiet)
        with bar(stderr, task, TEXT, TimeRemainingColumn()) as shown:
            for count, record in enumerate(read_records(self.inputs, self._stdin), 1):
                if count % 100 == 0:
                    shown.show(record.part or 0, 1 if record.part else None, text=f"{count:,} rows")
                yield record

"""The one reader: the rows of any kind of file, one at a time and each parsed once, for every command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, BinaryIO

from dpo_credit.credit import CreditError
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.documents import TLDR, Content, contents, json_object
from dpo_credit.rows.encodings import BOM, decoded
from dpo_credit.rows.lines import Line, pieces_of
from dpo_credit.rows.output import json_line
from dpo_credit.rows.records import Answers, Row, id_of, parse_row, place, stem, text_row
from dpo_credit.rows.sources import Input, dataset_rows, is_parquet, lines_of, parquet_rows
from dpo_credit.rows.values import TableRow


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stood: a line's bytes, text, a row of a table or an array, or what is wrong with one.

    `line` counts lines, or rows of a table or an array. `part` of the input lies behind it, if known.
    """

    source: str
    line: int
    content: Content | TableRow
    part: float | None = None

    @property
    def default_id(self) -> str:
        """The id of a record that brings none."""
        return f"{stem(self.source)}:{self.line}"

    @property
    def id(self) -> str:
        """Its own id, where it can be read and brings one."""
        content = self.content
        try:
            if isinstance(content, TableRow):
                return id_of(content.fields, self.default_id)
            return id_of(json.loads(content) if isinstance(content, bytes) else self.fields(), self.default_id)
        except (CreditError, ValueError, RecursionError, AttributeError):  # whatever else is wrong with it
            return self.default_id

    @property
    def numbered(self) -> bool:
        """Whether its number counts rows and not lines."""
        return not isinstance(self.content, bytes | str)

    @property
    def place(self) -> str:
        """Where it stood, for messages."""
        return place(self.source, self.line, numbered=self.numbered)

    @property
    def data(self) -> bytes:
        """The record's bytes; a table's row as JSON."""
        if isinstance(self.content, bytes):
            return self.content
        if isinstance(self.content, str | CreditError):
            return str(self.content).encode()
        return json.dumps(self.content.fields if isinstance(self.content, TableRow) else self.content).encode()

    @property
    def as_line(self) -> bytes:
        """The record as a line of JSON: the very one that it was read from, if it was.

        Raises:
            CreditError: it is no JSON.
        """
        if isinstance(self.content, bytes):
            return self.content.removeprefix(BOM).removesuffix(b"\n") + b"\n"
        return f"{json_line(self.fields())}\n".encode()

    def fields(self) -> dict[str, Any]:
        """The record as a JSON object.

        Raises:
            CreditError: it is none.
        """
        if isinstance(self.content, TableRow):
            if self.content.wrong:
                raise CreditError(f"{self.place}: {self.content.wrong}")
            return self.content.fields
        if isinstance(self.content, dict):
            return self.content
        if isinstance(self.content, CreditError):
            raise self.content
        if isinstance(self.content, str):
            raise CreditError(f"{self.source} is text. Give JSON.")
        return json_object(decoded(self.content, self.source, self.line), self.source, line=self.line)

    def row(
        self,
        *,
        prompt_key: str | None = None,
        answer_key: str | None = None,
        answers: Answers = "required",
        default_id: str | None = None,
    ) -> Row:
        """The record as a row; see `parse_row`.

        Raises:
            CreditError: it is none.
        """
        row_id = self.default_id if default_id is None else default_id
        if isinstance(self.content, str):
            if prompt_key or answer_key:
                raise CreditError(f"{self.source} is text, so --prompt-key and --answer-key do not apply. Give JSON.")
            row = text_row(self.content, row_id, answers=answers)
        else:
            row = parse_row(self.fields(), row_id, prompt_key=prompt_key, answer_key=answer_key, answers=answers)
        row = replace(row, source=self.source, line=self.line, numbered=self.numbered)
        if not isinstance(self.content, TableRow):
            return row
        try:
            self.content.refuse_made_text((*row.prompt_keys, *row.answer_keys))
        except CreditError as error:
            raise CreditError(f"{row.id}: {error}") from error
        return replace(row, notes=(*self.content.notes, *row.notes))


def read_records(inputs: Sequence[Input], stdin: BinaryIO | None = None) -> Iterator[Record]:
    """The records of all inputs in order, one in memory at a time.

    Raises:
        CreditError: an input cannot be read; what is wrong with one record, the record says itself.
    """
    total = sum(given.size for given in inputs)
    before = 0
    for given in inputs:
        for line, content, position in _found(given, stdin):
            yield Record(given.shown, line, content, (before + position) / total if total else None)
        before += given.size


def records_of(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """The records of a file that is open or was read already.

    Args:
        lines: as iterating over a binary file gives them.
        name: says whether it is text or JSON, where it does; see `contents`.

    Raises:
        CreditError: as for `read_records`.
    """
    numbered: Iterator[Line] = ((number, line, 0) for number, line in enumerate(lines, 1))
    for line, content, _ in contents(numbered, name):
        yield Record(name, line, content)


def _found(given: Input, stdin: BinaryIO | None) -> Iterator[tuple[int, Content | TableRow, int]]:
    if given.dataset:
        return dataset_rows(given)
    if given.is_stdin:
        assert stdin is not None
        return contents(pieces_of(stdin), given.shown)
    return parquet_rows(given.name) if is_parquet(given.name) else contents(lines_of(given.name), given.name)


def read_rows(
    records: Iterable[Record],
    *,
    prompt_key: str | None = None,
    answer_key: str | None = None,
    limit: int | None = None,
    aside: SetAside = STRICT,
) -> Iterator[Row]:
    """The rows of records, the first `limit` of them; see `parse_row`.

    Raises:
        CreditError: a record is no row, and none is set aside; the message says which.
    """
    for record in islice(records, limit):
        try:
            yield record.row(prompt_key=prompt_key, answer_key=answer_key)
        except CreditError as error:
            aside.add(record.id, record.place, error)


@dataclass(frozen=True, slots=True)
class Pick:
    """Which row of a file that holds several: by its number from 1 on, or by its id; without either, its only one."""

    number: int | None = None
    row_id: str | None = None

    def of(self, given: Input, stdin: BinaryIO | None = None) -> Record:
        """The record of a file.

        Raises:
            CreditError: the file cannot be read or is empty, has no such row, or has several and none is picked.
        """
        if self.number is not None and self.row_id is not None:
            raise CreditError("--row and --id exclude each other.")
        records, name = read_records([given], stdin), given.shown
        first = next(records, None)
        if first is None:
            raise CreditError(f"{name} is empty. Give a JSON object or a text with a prompt, {TLDR} and an answer.")
        records = chain([first], records)
        if self.number is not None:
            picked = next(islice(records, self.number - 1, None), None)
            wanted = f"--row {self.number}"
        elif self.row_id is not None:
            picked = next((record for record in records if record.id == self.row_id), None)
            wanted = f"--id {self.row_id}"
        elif next(islice(records, 1, None), None) is None:
            return first
        else:
            raise CreditError(f"{name} holds more than one row. Pick one with --row 1 or --id {first.id}.")
        if picked is None:
            raise CreditError(f"{name} has no row {wanted}.")
        return picked

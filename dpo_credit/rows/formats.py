"""What an output's file is made of, by the end of its name: JSON Lines, plain, gzip or zstd; or Parquet."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.rows.documents import JSON
from dpo_credit.rows.journal import Format
from dpo_credit.rows.sources import Input, column_types
from dpo_credit.rows.values import typed

_GROUP_ROWS = 256  # rows of a Parquet row group: an answer is some 10 kB


def format_of(output: Path, inputs: Sequence[Input] = (), *, scored: bool = False) -> Format:
    """How rows become the file of that name; a table's columns have the types that they have in the inputs.

    Args:
        output: the file.
        inputs: where the columns come from.
        scored: these are scored rows already, which come out as they stand.

    Raises:
        CreditError: the name ends in nothing that is known, or the package for it is not installed.
    """
    name = output.name
    if name.endswith(".parquet"):
        optional("pyarrow", name)
        passed = column_types if scored else _passed_types
        return Format(convert=lambda rows, target: to_parquet(rows, target, types=passed(inputs)))
    if name.endswith(tuple(f"{end}.gz" for end in JSON)):
        return Format(pack=partial(gzip.compress, mtime=0))  # members one after the other are one gzip file
    if name.endswith(tuple(f"{end}.zst" for end in JSON)):
        return Format(pack=partial(optional("pyarrow", name).compress, codec="zstd", asbytes=True))
    if name.endswith(JSON):
        return Format()
    raise CreditError(f"{name} is no format of ours: end it in .jsonl, .jsonl.gz, .jsonl.zst or .parquet.")


def _passed_types(inputs: Sequence[Input]) -> dict[str, Any]:
    """The types of the inputs' columns, under the names that these have in an output; see `to_json`."""
    return {"input_credit" if name == "credit" else name: kind for name, kind in column_types(inputs).items()}


def to_parquet(rows: Path, target: Path, types: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
    """Write JSON Lines as Parquet, a group of rows in memory at a time; a column has the type that all its rows share.

    A column whose values share no type of Arrow's, such as text and numbers or numbers from 2^64 on, holds JSON, of
    Arrow's type for that: nothing is lost, and `read_records` reads the values back.

    Args:
        rows: the lines.
        target: the file.
        types: Arrow types of columns, for those whose values are all of that type once they are read (see `typed`).

    Returns:
        What to say of columns that hold JSON or have another name.

    Raises:
        CreditError: Arrow cannot write a column even so.
    """
    arrow = optional("pyarrow", target.name)
    made_json: dict[str, None] = {}
    while True:
        try:
            names = _write(rows, target, types, made_json)
            break
        except _UnfitError as error:
            if error.column in made_json:
                raise CreditError(
                    f"column {error.column} makes no Parquet: {error.reason}. The rows are kept in {rows.name}."
                ) from error
            made_json[error.column] = None
        except arrow.ArrowException as error:
            raise CreditError(
                f"the rows make no Parquet table: {str(error).splitlines()[0]} They are kept in {rows.name}; use that."
            ) from error
    notes = [f"column {_said(name)} holds JSON: its values share no type that Parquet has" for name in made_json]
    return notes + [f"column {new} has another name in the rows, which UTF-8 cannot carry" for new in names]


class _UnfitError(Exception):
    """A column whose values are of no one type."""

    def __init__(self, column: str, error: Exception) -> None:
        self.column = column
        self.reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _write(rows: Path, target: Path, types: Mapping[str, Any], made_json: Collection[str]) -> list[str]:
    """Write the table with columns as JSON; returns the new names of those that had to be called something else.

    Raises:
        _UnfitError: another column has to be JSON.
    """
    arrow, parquet = optional("pyarrow", target.name), optional("pyarrow.parquet", target.name)
    schema, types = arrow.schema([]), {name: kind for name, kind in types.items() if name not in made_json}
    given: dict[str, str] = {}
    for group in _groups(rows):
        for name in dict.fromkeys(name for row in group for name in row):
            column = _column(name, group, made_json)
            given[_said(name)] = name
            with _fitting(name):
                field = arrow.schema([(_said(name), column.type)])
                schema = arrow.unify_schemas([schema, field], promote_options="permissive")
            if name in types and typed(column, types[name]) is None:
                del types[name]
    kept = arrow.schema([field.with_type(types.get(given[field.name], field.type)) for field in schema])
    for field in kept:  # Parquet has no objects without fields, and none that lie a hundred deep
        with _fitting(given[field.name], OSError):
            alone = io.BytesIO()
            parquet.ParquetWriter(alone, arrow.schema([field])).close()
            parquet.read_schema(alone)
    with parquet.ParquetWriter(target, kept) as writer:
        for group in _groups(rows):
            arrays = []
            for field, final in zip(schema, kept, strict=True):
                name = given[field.name]
                column = _column(name, group, made_json, field.type)
                with _fitting(name):
                    arrays.append(typed(column, final.type))
            writer.write_batch(arrow.RecordBatch.from_arrays(arrays, schema=kept))
    return [new for new, name in given.items() if new != name]


def _column(name: str, group: list[dict[str, Any]], made_json: Collection[str], kind: Any = None) -> Any:
    """A column's values in a group of rows as an Arrow array, of a type if one is given."""
    arrow = optional("pyarrow", "a table")
    values = [row.get(name) for row in group]
    with _fitting(name):
        if name in made_json:
            texts = [None if value is None else json.dumps(value) for value in values]
            return arrow.ExtensionArray.from_storage(arrow.json_(), arrow.array(texts, arrow.string()))
        try:
            return arrow.array(values, kind)
        except OverflowError:
            return arrow.array(values, arrow.uint64())


@contextmanager
def _fitting(name: str, *more: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (optional("pyarrow", "a table").ArrowException, ValueError, OverflowError, TypeError, *more) as error:
        raise _UnfitError(name, error) from error


def _said(name: str) -> str:
    """A column's name, half a character in it written as an escape."""
    return name.encode("utf-8", "backslashreplace").decode()


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    with rows.open(encoding="utf-8") as lines:
        while group := [json.loads(line) for line in islice(lines, _GROUP_ROWS)]:
            yield group

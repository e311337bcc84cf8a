"""What an output's file is made of, by the end of its name: JSON Lines, plain, gzip or zstd; or Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
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


def format_of(output: Path, inputs: Sequence[Input] = ()) -> Format:
    """How rows become the file of that name; a table's columns have the types that they have in the inputs.

    Raises:
        CreditError: the name ends in nothing that is known, or the package for it is not installed.
    """
    name = output.name
    if name.endswith(".parquet"):
        optional("pyarrow", name)
        return Format(convert=lambda rows, target: to_parquet(rows, target, types=_passed_types(inputs)))
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


def to_parquet(rows: Path, target: Path, types: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Write JSON Lines as Parquet, a group of rows in memory at a time; a column has the type that all its rows share.

    Args:
        rows: the lines.
        target: the file.
        types: Arrow types of columns, for those whose values are all of that type once they are read (see `typed`).

    Raises:
        CreditError: a column is text in one row and a number in another, or holds what Arrow has no type for.
    """
    arrow, parquet = optional("pyarrow", target.name), optional("pyarrow.parquet", target.name)
    schema, types = arrow.schema([]), dict(types)
    try:
        for group in _groups(rows):
            names = dict.fromkeys(name for row in group for name in row)
            columns = {name: _array([row.get(name) for row in group]) for name in names}
            schema = arrow.unify_schemas([schema, arrow.table(columns).schema], promote_options="permissive")
            types = {
                name: kind
                for name, kind in types.items()
                if name not in columns or typed(columns[name], kind) is not None
            }
        kept = arrow.schema([field.with_type(types.get(field.name, field.type)) for field in schema])
        with parquet.ParquetWriter(target, kept) as writer:
            for group in _groups(rows):
                batch = arrow.RecordBatch.from_pylist(group, schema=schema)
                arrays = [typed(batch[field.name], field.type) for field in kept]
                writer.write_batch(arrow.RecordBatch.from_arrays(arrays, schema=kept))
    except (
        arrow.ArrowException,
        OverflowError,
        UnicodeEncodeError,
    ) as error:  # numbers from 2**64 on, half a character
        raise CreditError(
            f"the rows make no Parquet table: {str(error).splitlines()[0]} They are kept in {rows.name}; use that, or "
            "give every row of a column one type."
        ) from error


def _array(values: list[Any]) -> Any:
    arrow = optional("pyarrow", "a table")
    try:
        return arrow.array(values)
    except OverflowError:
        return arrow.array(values, arrow.uint64())


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    with rows.open(encoding="utf-8") as lines:
        while group := [json.loads(line) for line in islice(lines, _GROUP_ROWS)]:
            yield group

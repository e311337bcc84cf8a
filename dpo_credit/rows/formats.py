"""What an output's file is made of, by the end of its name: JSON Lines, plain, gzip or zstd; or Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.rows.documents import JSON
from dpo_credit.rows.journal import Format

_GROUP_ROWS = 256  # rows of a Parquet row group: an answer is some 10 kB


def format_of(output: Path) -> Format:
    """How rows become the file of that name.

    Raises:
        CreditError: the name ends in nothing that is known, or the package for it is not installed.
    """
    name = output.name
    if name.endswith(".parquet"):
        optional("pyarrow", name)
        return Format(convert=to_parquet)
    if name.endswith(tuple(f"{end}.gz" for end in JSON)):
        return Format(pack=partial(gzip.compress, mtime=0))  # members one after the other are one gzip file
    if name.endswith(tuple(f"{end}.zst" for end in JSON)):
        return Format(pack=partial(optional("pyarrow", name).compress, codec="zstd", asbytes=True))
    if name.endswith(JSON):
        return Format()
    raise CreditError(f"{name} is no format of ours: end it in .jsonl, .jsonl.gz, .jsonl.zst or .parquet.")


def to_parquet(rows: Path, target: Path) -> None:
    """Write JSON Lines as Parquet, a group of rows in memory at a time; a column has the type that all its rows share.

    Raises:
        CreditError: a column is text in one row and a number in another.
    """
    arrow, parquet = optional("pyarrow", target.name), optional("pyarrow.parquet", target.name)
    schema = arrow.schema([])
    try:
        for group in _groups(rows):
            names = dict.fromkeys(name for row in group for name in row)
            columns = {name: arrow.array([row.get(name) for row in group]) for name in names}
            schema = arrow.unify_schemas([schema, arrow.table(columns).schema], promote_options="permissive")
        with parquet.ParquetWriter(target, schema) as writer:
            for group in _groups(rows):
                writer.write_batch(arrow.RecordBatch.from_pylist(group, schema=schema))
    except arrow.ArrowException as error:
        raise CreditError(
            f"the rows make no Parquet table: {str(error).splitlines()[0]} They are kept in {rows.name}; use that, or "
            "give every row of a column one type."
        ) from error


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    with rows.open(encoding="utf-8") as lines:
        while group := [json.loads(line) for line in islice(lines, _GROUP_ROWS)]:
            yield group

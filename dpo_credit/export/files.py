"""What an export's file is made of, by its name: what `batch` writes, CSV, or a Hugging Face dataset in a folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.rows.formats import format_of, to_parquet
from dpo_credit.rows.journal import Format
from dpo_credit.rows.sources import Input


def file_format(output: str, inputs: Sequence[Input], *, flat: bool) -> Format:
    """How lines of JSON become the file, or the folder where the name ends in "/", of that name.

    Args:
        output: the name; "-" is stdout.
        inputs: where columns come from, which keep their types.
        flat: whether the lines hold what CSV can.

    Raises:
        CreditError: the name ends in nothing that is known, or a package for it is missing.
    """
    if output == "-":
        return Format()
    if output.endswith("/"):
        optional("datasets", output)
        return Format(convert=partial(to_dataset, inputs=inputs))
    if output.endswith(".csv"):
        if not flat:
            raise CreditError(
                f"{output}: CSV holds no lists. End it in .jsonl or .parquet, or export tokens or columns."
            )
        return Format(convert=to_csv)
    try:
        return format_of(Path(output), inputs)
    except CreditError as error:
        if "no format of ours" not in str(error):
            raise
        raise CreditError(
            f"{output} is no format of ours: end it in .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .csv, or in / for a "
            "Hugging Face dataset."
        ) from error


def to_csv(rows: Path, target: Path) -> list[str]:
    """Write JSON Lines as CSV (RFC 4180, UTF-8), a line in memory at a time; lists and objects are JSON in a cell.

    Returns:
        Nothing to say.
    """
    names = dict.fromkeys(name for fields in _lines(rows) for name in fields)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in fields.items()} for fields in _lines(rows))
    return []


def to_dataset(rows: Path, target: Path, inputs: Sequence[Input] = ()) -> list[str]:
    """Write JSON Lines as a Hugging Face dataset, as `save_to_disk` does; for `load_from_disk`.

    Returns:
        What to say of columns that hold JSON; see `to_parquet`.

    Raises:
        CreditError: no table can be made of the lines.
    """
    datasets = optional("datasets", target.name)
    table = rows.with_suffix(".parquet")
    convert = format_of(table, inputs).convert or to_parquet
    notes = convert(rows, table)
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset.from_parquet(str(table), cache_dir=str(rows.parent / "cache")).save_to_disk(str(target))
    except (ValueError, TypeError, OSError) as error:
        raise CreditError(f"the rows make no dataset: {reason_of(error)}. Write .jsonl or .parquet.") from error
    finally:
        if not shown:
            datasets.enable_progress_bars()
    return notes


def _lines(rows: Path) -> Iterator[dict[str, Any]]:
    with rows.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value

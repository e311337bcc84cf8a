"""Where rows come from: files of any size (plain, gzip or zstd), Parquet, Hugging Face datasets, stdin."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.rows.documents import COMPRESSED, JSON
from dpo_credit.rows.lines import MOST_BYTES, Line, pieces_of, too_long
from dpo_credit.rows.values import TableRow, parsed, stores_json, table_row

_PARQUET_ROWS = 256  # read at a time, at most
_PARQUET_BYTES = 32 << 20  # likewise, of rows that may be one value again and again; of one row, what it has
_PARQUET_BUFFER = 1 << 20  # bytes of a column that are read at a time
_MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti", "Mesh")  # features of datasets that decode to Python objects
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"  # what such files begin with

TableLine = tuple[int, TableRow, int]  # a row's number, the row, and how many bytes lie behind it


@dataclass(frozen=True, slots=True)
class Input:
    """A file's name, `-` for stdin, or a Hugging Face dataset (a name on the hub, or what `save_to_disk` wrote)."""

    name: str
    dataset: bool = False
    split: str | None = None

    @property
    def is_stdin(self) -> bool:
        """Whether it is piped in."""
        return self.name == "-" and not self.dataset

    @property
    def shown(self) -> str:
        """What messages call it."""
        return "stdin" if self.is_stdin else self.name

    @property
    def size(self) -> int:
        """Bytes of the file, as it is stored; 0 where that is not known."""
        if self.dataset or self.is_stdin or not Path(self.name).is_file():
            return 0
        return Path(self.name).stat().st_size


def expand(patterns: Sequence[str]) -> list[Input]:
    """The files of patterns, each pattern's in alphabetical order; a name that exists is no pattern.

    Raises:
        CreditError: there is no such file.
    """
    names: list[str] = []
    for pattern in patterns:
        files = [pattern] if pattern == "-" or Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not files:
            raise CreditError(
                f"{pattern} does not exist. Give a JSON, JSONL, text or Parquet file, a pattern, or - for stdin."
            )
        names += files
    return [Input(name) for name in names]


def output_name(given: Input) -> str:
    """What an input's scored rows are called in a folder of outputs."""
    base = given.name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    for end in (*COMPRESSED, *JSON, ".parquet", ".txt"):
        base = base.removesuffix(end)
    return f"{'stdin' if given.name == '-' else base}.jsonl"


def lines_of(name: str) -> Iterator[Line]:
    """The lines of a file, long ones in pieces, decompressed where its name or its first bytes say so.

    Raises:
        CreditError: it cannot be read.
    """
    number = 0
    try:
        with open(name, "rb") as raw, _decompressed(raw, name) as file:
            position = raw.tell if raw.seekable() else int  # a named pipe does not know how far it is
            for piece in pieces_of(file, position):
                number = piece[0]
                yield piece
    except FileNotFoundError as error:
        raise CreditError(f"{name} does not exist. Give a JSON or text file, or - for stdin.") from error
    except IsADirectoryError as error:
        raise CreditError(f"{name} is a directory. Give a JSON or text file, or - for stdin.") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:  # Arrow's are ValueErrors
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CreditError(_unread(name, f"line {number}" if number else "", reason)) from error


def _unread(name: str, last: str, reason: str) -> str:
    """What is said of a file that cannot be read, or not past its `last` line or row."""
    where, advice = (f" past {last}", " It is broken or cut off: copy or download it again.") if last else ("", "")
    return f"cannot read {name}{where}: {reason.rstrip('.')}.{advice}"


def is_parquet(name: str) -> bool:
    """Whether a file is a table of that kind, by its name or its first bytes."""
    if name.endswith(".parquet"):
        return True
    if not Path(name).is_file():  # a named pipe is opened once
        return False
    try:
        with open(name, "rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError:  # what is wrong, reading it will say
        return False


def _decompressed(raw: io.BufferedReader, name: str) -> BinaryIO:
    begins = raw.peek(4)
    if name.endswith(".gz") or begins.startswith(_GZIP):
        return gzip.open(raw, "rb")  # type: ignore[return-value]
    if name.endswith((".zst", ".zstd")) or begins.startswith(_ZSTD):
        return io.BufferedReader(optional("pyarrow", name).CompressedInputStream(raw, "zstd"))
    return raw


def parquet_rows(name: str) -> Iterator[TableLine]:
    """The rows of a table, each with its number from 1 and how many bytes of the file lie behind it.

    Raises:
        CreditError: it cannot be read.
    """
    parquet, number = optional("pyarrow.parquet", name), 0
    try:
        with parquet.ParquetFile(name, buffer_size=_PARQUET_BUFFER) as file:
            _refuse_twins(file.schema_arrow.names, name)
            batches = file.iter_batches(batch_size=_rows_at_a_time(file.metadata), use_threads=False)
            rows = (row for batch in batches for row in _rows(batch))
            size, count = Path(name).stat().st_size, file.metadata.num_rows
            for number, row in enumerate(rows, 1):
                yield number, row, size * number // count
    except (OSError, optional("pyarrow", name).ArrowException) as error:
        raise CreditError(_unread(name, f"row {number}" if number else "", reason_of(error))) from error


def column_types(inputs: Sequence[Input]) -> dict[str, Any]:
    """The Arrow types of the columns of Parquet files and saved datasets, of those that all agree on.

    Raises:
        CreditError: a dataset cannot be loaded.
        OSError: a file is gone.
    """
    types: dict[str, Any] = {}
    for given in inputs:
        schema: Iterable[Any] = ()
        if given.dataset and Path(given.name).is_dir():
            features = _loaded(given).features
            schema = features.arrow_schema if features else ()
        elif not (given.dataset or given.is_stdin) and is_parquet(given.name):
            schema = optional("pyarrow.parquet", given.name).read_schema(given.name)
        for column in schema:
            if types.setdefault(column.name, column.type) != column.type:
                types[column.name] = None
    return {name: kind for name, kind in types.items() if kind is not None}


def _refuse_twins(columns: Sequence[str], name: str) -> None:
    twins = [column for column in dict.fromkeys(columns) if columns.count(column) > 1]
    if twins:
        raise CreditError(f"{name} has several columns named {twins[0]}. Rename them.")


def _rows_at_a_time(table: Any) -> int:
    """How many rows stay under the bound, were all of them the longest value of a group's dictionary."""
    largest = max((table.row_group(n).total_byte_size for n in range(table.num_row_groups)), default=0)
    return max(1, min(_PARQUET_ROWS, _PARQUET_BYTES // max(1, largest)))


def _rows(batch: Any) -> Iterator[TableRow]:
    """The rows of an Arrow batch; where a value of one cannot be read, or a row is too long, the row says so."""
    if batch.nbytes > MOST_BYTES:
        yield from (TableRow({}, wrong=too_long("it")) for _ in range(batch.num_rows))
        return
    try:
        rows = batch.to_pylist()
        for field in filter(stores_json, batch.schema):
            for row in rows:
                row[field.name] = parsed(row[field.name], field.type)
    except (ValueError, OverflowError, RecursionError):  # text that is not UTF-8, a year 300,000, JSON 900 deep
        yield from (_row(batch, n) for n in range(batch.num_rows))
    else:
        yield from map(table_row, rows)


def _row(batch: Any, n: int) -> TableRow:
    row, wrong = {}, ""
    for column, values in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[column] = parsed(values[n].as_py(), values.type)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            wrong = wrong or f"column {column} is not UTF-8: byte {byte:#04x} at offset {error.start}. Convert it."
        except (ValueError, OverflowError, RecursionError) as error:
            wrong = wrong or f"column {column} cannot be read: {error}."
    return table_row(row, wrong)


def dataset_rows(dataset: Input) -> Iterator[TableLine]:
    """The rows of a Hugging Face dataset, each with its number from 1; its pictures and sounds are not decoded.

    Raises:
        CreditError: it cannot be loaded or read on, or has several splits and none is named.
    """
    number = 0
    try:
        for number, row in enumerate(_streamed(dataset), 1):
            yield number, table_row(row), 0
    except CreditError:
        raise
    except Exception as error:  # the hub's client and every loader raise what they like
        what = f"read row {number + 1} of" if number else "load"
        raise CreditError(f"cannot {what} the dataset {dataset.name}: {reason_of(error)}") from error


def _streamed(dataset: Input) -> Iterable[dict[str, Any]]:
    rows = _loaded(dataset)
    if hasattr(rows, "to_iterable_dataset"):
        rows = rows.with_format(None).to_iterable_dataset()  # it may have been saved with another
    has_media = any(f"{kind}(" in str(rows.features) for kind in _MEDIA)
    return rows.decode(False) if has_media else rows  # which would leave JSON in columns as text, too


def _loaded(dataset: Input) -> Any:
    datasets = optional("datasets", f"the dataset {dataset.name}")
    folder = Path(dataset.name)
    if (folder / "state.json").exists():
        return datasets.load_from_disk(dataset.name)
    if (folder / "dataset_dict.json").exists():
        splits = datasets.load_from_disk(dataset.name)
        return splits[_split(dataset, list(splits))]
    split = _split(dataset, datasets.get_dataset_split_names(dataset.name))
    return datasets.load_dataset(dataset.name, split=split, streaming=True)


def _split(dataset: Input, splits: Sequence[str]) -> str:
    if dataset.split is None and len(splits) == 1:
        return splits[0]
    if dataset.split is None or dataset.split not in splits:
        asked = f"no split {dataset.split!r}" if dataset.split else "several splits"
        raise CreditError(f"the dataset {dataset.name} has {asked}; name one with --split: {', '.join(splits)}.")
    return dataset.split

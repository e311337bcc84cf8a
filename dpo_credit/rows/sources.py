"""Rows from files of any size, one at a time: JSONL (plain, gzip or zstd), Parquet, Hugging Face datasets, stdin.

What is wrong with a record is its own: it comes out with its line, and the next one follows.
"""

from __future__ import annotations

import glob
import gzip
import importlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dpo_credit.credit import CreditError
from dpo_credit.rows.records import Row, json_object, parse_row, stem

_PARQUET_ROWS = 256  # read at a time


@dataclass(frozen=True, slots=True)
class Input:
    """A file's name, `-` for stdin, or a Hugging Face dataset (a name on the hub, or what `save_to_disk` wrote)."""

    name: str
    dataset: bool = False
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record: a line's bytes or a table's row, and where it stood. `part` of the input lies behind it, if known."""

    source: str
    line: int
    content: bytes | dict[str, Any]
    part: float | None = None

    @property
    def default_id(self) -> str:
        """The id of a record that brings none."""
        return f"{stem(self.source)}:{self.line}"

    def fields(self) -> dict[str, Any]:
        """The record as a JSON object.

        Raises:
            CreditError: it is none.
        """
        if isinstance(self.content, dict):
            return self.content
        try:
            text = self.content.decode("utf-8-sig" if self.line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise CreditError(
                f"{self.source}, line {self.line} is not UTF-8: byte {self.content[error.start]:#04x} at offset "
                f"{error.start}."
            ) from error
        return json_object(text, self.source, line=self.line)

    def row(self, prompt_key: str | None = None, answer_key: str | None = None) -> Row:
        """The record as a row; see `parse_row`.

        Raises:
            CreditError: it is none.
        """
        return parse_row(self.fields(), self.default_id, prompt_key=prompt_key, answer_key=answer_key)

    @property
    def data(self) -> bytes:
        """The record's bytes; a table's row as JSON, as far as it is JSON."""
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content, default=str).encode()


def read(inputs: Sequence[Input], stdin: BinaryIO | None = None) -> Iterator[Record]:
    """The records of all inputs in order, one in memory at a time. Blank lines are none.

    Raises:
        CreditError: an input cannot be read; what is wrong with one record, the record says itself.
    """
    total = sum(_size(given) for given in inputs)
    before = 0
    for given in inputs:
        found: Iterable[tuple[int, bytes | dict[str, Any], int]]
        if given.dataset:
            found = _dataset_rows(given)
        elif given.name == "-":
            assert stdin is not None
            found = ((line, data, 0) for line, data in enumerate(stdin, 1))
        else:
            found = _parquet_rows(given.name) if given.name.endswith(".parquet") else _lines(given.name)
        name = "stdin" if given.name == "-" else given.name
        for line, content, position in found:
            if not isinstance(content, bytes) or content.strip():
                yield Record(name, line, content, (before + position) / total if total else None)
        before += _size(given)


def _size(given: Input) -> int:
    return 0 if given.dataset or given.name == "-" else Path(given.name).stat().st_size


def _lines(name: str) -> Iterator[tuple[int, bytes, int]]:
    try:
        with open(name, "rb") as raw, _decompressed(raw, name) as file:
            yield from ((line, data, raw.tell()) for line, data in enumerate(file, 1))
    except (OSError, EOFError, zlib.error, ValueError) as error:  # Arrow's are ValueErrors
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CreditError(f"cannot read {name}: {reason}.") from error


def expand(patterns: Sequence[str]) -> list[Input]:
    """The files of patterns, each pattern's in alphabetical order; a name that exists is no pattern.

    Raises:
        CreditError: there is no such file.
    """
    names: list[str] = []
    for pattern in patterns:
        found = [pattern] if pattern == "-" or Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise CreditError(f"{pattern} does not exist. Give a JSONL or Parquet file, a pattern, or - for stdin.")
        names += found
    return [Input(name) for name in names]


def output_name(given: Input) -> str:
    """What an input's scored rows are called in a folder of outputs."""
    base = given.name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    for end in (".gz", ".zst", ".zstd", ".jsonl", ".json", ".ndjson", ".parquet"):
        base = base.removesuffix(end)
    return f"{'stdin' if given.name == '-' else base}.jsonl"


def _decompressed(raw: BinaryIO, name: str) -> BinaryIO:
    if name.endswith(".gz"):
        return gzip.open(raw, "rb")  # type: ignore[return-value]
    if name.endswith((".zst", ".zstd")):
        return io.BufferedReader(optional("pyarrow", name).CompressedInputStream(raw, "zstd"))
    return raw


def _parquet_rows(name: str) -> Iterator[tuple[int, dict[str, Any], int]]:
    parquet = optional("pyarrow.parquet", name)
    try:
        with parquet.ParquetFile(name) as file:
            batches = file.iter_batches(batch_size=_PARQUET_ROWS)
            rows = (row for batch in batches for row in batch.to_pylist())
            size, count = Path(name).stat().st_size, file.metadata.num_rows
            yield from ((n, row, size * n // count) for n, row in enumerate(rows, 1))
    except (OSError, optional("pyarrow", name).ArrowException) as error:
        raise CreditError(f"cannot read {name}: {str(error).splitlines()[0]}") from error


def _dataset_rows(dataset: Input) -> Iterator[tuple[int, dict[str, Any], int]]:
    datasets = optional("datasets", f"the dataset {dataset.name}")
    try:
        if Path(dataset.name).is_dir() and (Path(dataset.name) / "state.json").exists():
            found = datasets.load_from_disk(dataset.name)
        elif Path(dataset.name).is_dir() and (Path(dataset.name) / "dataset_dict.json").exists():
            splits = datasets.load_from_disk(dataset.name)
            found = splits[_split(dataset, list(splits))]
        else:
            found = datasets.load_dataset(
                dataset.name, split=_split(dataset, datasets.get_dataset_split_names(dataset.name)), streaming=True
            )
    except CreditError:
        raise
    except Exception as error:  # the hub's client and every loader raise what they like
        raise CreditError(f"cannot load the dataset {dataset.name}: {str(error).splitlines()[0]}") from error
    yield from ((n, row, 0) for n, row in enumerate(found, 1))


def _split(dataset: Input, splits: Sequence[str]) -> str:
    if dataset.split is None and len(splits) == 1:
        return splits[0]
    if dataset.split is None or dataset.split not in splits:
        asked = f"no split {dataset.split!r}" if dataset.split else "several splits"
        raise CreditError(f"the dataset {dataset.name} has {asked}; name one with --split: {', '.join(splits)}.")
    return dataset.split


def optional(name: str, wanted_for: str, extra: str = "data") -> Any:
    """A module that an extra brings.

    Raises:
        CreditError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise CreditError(
            f"{wanted_for} needs the package {package}, which is not installed: pip install 'dpo-credit[{extra}]'"
        ) from error

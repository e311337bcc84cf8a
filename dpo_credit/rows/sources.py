"""Where rows come from: files of any size (plain, gzip or zstd), Parquet, Hugging Face datasets, stdin."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.rows.documents import COMPRESSED, JSON
from dpo_credit.rows.encodings import Line

_PARQUET_ROWS = 256  # read at a time
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"  # what such files begin with


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
    """The lines of a file, decompressed where its name or its first bytes say so.

    Raises:
        CreditError: it cannot be read.
    """
    try:
        with open(name, "rb") as raw, _decompressed(raw, name) as file:
            position = raw.tell if raw.seekable() else int  # a named pipe does not know how far it is
            yield from ((number, line, position()) for number, line in enumerate(file, 1))
    except FileNotFoundError as error:
        raise CreditError(f"{name} does not exist. Give a JSON or text file, or - for stdin.") from error
    except IsADirectoryError as error:
        raise CreditError(f"{name} is a directory. Give a JSON or text file, or - for stdin.") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:  # Arrow's are ValueErrors
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CreditError(f"cannot read {name}: {reason}.") from error


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


def parquet_rows(name: str) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The rows of a table, each with its number from 1 and how many bytes of the file lie behind it.

    Raises:
        CreditError: it cannot be read.
    """
    parquet = optional("pyarrow.parquet", name)
    try:
        with parquet.ParquetFile(name) as file:
            batches = file.iter_batches(batch_size=_PARQUET_ROWS)
            rows = (row for batch in batches for row in batch.to_pylist())
            size, count = Path(name).stat().st_size, file.metadata.num_rows
            yield from ((n, row, size * n // count) for n, row in enumerate(rows, 1))
    except (OSError, optional("pyarrow", name).ArrowException) as error:
        raise CreditError(f"cannot read {name}: {str(error).splitlines()[0]}") from error


def dataset_rows(dataset: Input) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The rows of a Hugging Face dataset, each with its number from 1.

    Raises:
        CreditError: it cannot be loaded, or has several splits and none is named.
    """
    datasets = optional("datasets", f"the dataset {dataset.name}")
    try:
        if Path(dataset.name).is_dir() and (Path(dataset.name) / "state.json").exists():
            rows = datasets.load_from_disk(dataset.name)
        elif Path(dataset.name).is_dir() and (Path(dataset.name) / "dataset_dict.json").exists():
            splits = datasets.load_from_disk(dataset.name)
            rows = splits[_split(dataset, list(splits))]
        else:
            rows = datasets.load_dataset(
                dataset.name, split=_split(dataset, datasets.get_dataset_split_names(dataset.name)), streaming=True
            )
    except CreditError:
        raise
    except Exception as error:  # the hub's client and every loader raise what they like
        raise CreditError(f"cannot load the dataset {dataset.name}: {str(error).splitlines()[0]}") from error
    yield from ((n, row, 0) for n, row in enumerate(rows, 1))


def _split(dataset: Input, splits: Sequence[str]) -> str:
    if dataset.split is None and len(splits) == 1:
        return splits[0]
    if dataset.split is None or dataset.split not in splits:
        asked = f"no split {dataset.split!r}" if dataset.split else "several splits"
        raise CreditError(f"the dataset {dataset.name} has {asked}; name one with --split: {', '.join(splits)}.")
    return dataset.split

"""Reading inputs and writing outputs: `-` is stdin or stdout, and a file appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dpo_credit.cli.terminal import data_stream
from dpo_credit.credit import CreditError
from dpo_credit.rows.durable import keep_mode
from dpo_credit.rows.lines import MOST_BYTES

if TYPE_CHECKING:
    from dpo_credit.rows.reader import Record

_PACKED = (".gz", ".zst", ".parquet")


def read(name: str, what: str = "", wanted: str = "a JSON or text file, or - for stdin") -> bytes:
    """The bytes of a file, or of stdin for `-`. Messages say `what` it is for, such as "--chat-template ".

    Raises:
        CreditError: there is no such file, it cannot be read, or it is a pipe or a device that goes on and on.
    """
    if name == "-":
        return _bounded(stdin(), f"{what}stdin")
    try:
        with open(name, "rb") as file:
            return file.read() if Path(name).is_file() else _bounded(file, f"{what}{name}")
    except FileNotFoundError as error:
        raise CreditError(f"{what}{name} does not exist. Give {wanted}.") from error
    except IsADirectoryError as error:
        raise CreditError(f"{what}{name} is a directory. Give {wanted}.") from error
    except OSError as error:
        raise CreditError(f"cannot read {what}{name}: {error.strerror}.") from error
    except ValueError as error:
        raise CreditError(f"{what}{name!r} is no name of a file: {error}.") from error


def records(files: Sequence[str]) -> Iterator[Record]:
    """The records of files and patterns, or of stdin for `-`, one after the other.

    Raises:
        CreditError: there is no such file, or it cannot be read.
    """
    from dpo_credit.rows.reader import read_records
    from dpo_credit.rows.sources import expand

    return read_records(expand(files), stdin() if "-" in files else None)


def record(file: str, number: int | None = None, row_id: str | None = None) -> Record:
    """The record of a file, or of stdin for `-`: its only one, or the one with that number from 1 on, or that id.

    Raises:
        CreditError: the file cannot be read or is empty, has no such row, or has several and none is picked.
    """
    from dpo_credit.rows.reader import Pick
    from dpo_credit.rows.sources import Input

    return Pick(number, row_id).of(Input(file), stdin() if file == "-" else None)


def stdin() -> BinaryIO:
    """What is piped in.

    Raises:
        CreditError: nothing is.
    """
    if sys.stdin is None:
        raise CreditError("- reads from stdin, which is closed. Pipe a file in, or name one.")
    if sys.stdin.isatty():
        raise CreditError("- reads from stdin, which is the keyboard here. Pipe a file in, or name one.")
    return sys.stdin.buffer


def _bounded(file: BinaryIO, shown: str) -> bytes:
    """What a pipe or a device gives, which may have no end."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise CreditError(f"{shown} gives more than {MOST_BYTES >> 20} MiB. Is it what you meant?")
    return data


def write(name: str, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to a file, or to stdout for `-`; what was there stays until the new file is whole.

    Raises:
        CreditError: it cannot be written; nothing is left behind.
    """
    with writing(name) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(name: str) -> Iterator[BinaryIO]:
    """A file to write to piece by piece, or stdout for `-`; what was there stays until the new file is whole.

    Raises:
        CreditError: it cannot be written; nothing is left behind, as after any other error.
    """
    if name == "-":
        yield data_stream()
        sys.stdout.flush()
        return
    target = Path(os.path.realpath(name))  # a link stays one
    try:
        if target.exists() and not target.is_file():  # a device or a named pipe has no half-written state
            with target.open("wb") as file:
                yield file
            return
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(temporary, 0o666 & ~_umask())
            keep_mode(Path(temporary), target)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CreditError(f"cannot write {name}: {error.strerror}. Nothing was written.") from error


def check_writable(name: str, *, rows: bool = False) -> None:
    """Refuse a target that cannot be written, before the work is done.

    Raises:
        CreditError: it is a directory, its folder does not exist or refuses new files, or its name promises a packed
            file or a table, which are of `rows` alone.
    """
    target = Path(name)
    if name.endswith(_PACKED) and not rows:
        raise CreditError(
            f"{name} would be plain text under another's name. Leave out the end; batch, export and filter alone write "
            f"{', '.join(_PACKED)}."
        )
    if name == "-":
        return
    if target.is_dir():
        raise CreditError(f"cannot write {name}: Is a directory. Nothing was written.")
    if not target.parent.is_dir():
        raise CreditError(f"cannot write {name}: No such file or directory. Nothing was written.")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise CreditError(f"cannot write {name}: Permission denied. Nothing was written.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

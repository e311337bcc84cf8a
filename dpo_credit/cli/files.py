"""Reading inputs and writing outputs: `-` is stdin or stdout, and a file appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from dpo_credit.credit import CreditError


def read(name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`.

    Raises:
        CreditError: there is no such file, or it cannot be read.
    """
    if name == "-":
        if sys.stdin.isatty():
            raise CreditError("- reads from stdin, which is the keyboard here. Pipe a file in, or name one.")
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except FileNotFoundError as error:
        raise CreditError(f"{name} does not exist. Give a JSON or text file, or - for stdin.") from error
    except IsADirectoryError as error:
        raise CreditError(f"{name} is a directory. Give a JSON or text file, or - for stdin.") from error
    except OSError as error:
        raise CreditError(f"cannot read {name}: {error.strerror}.") from error


def write(name: str, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to a file, or to stdout for `-`; what was there stays until the new file is whole.

    Raises:
        CreditError: it cannot be written; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    target = Path(name)
    try:
        if target.exists() and not target.is_file():  # a device or a named pipe has no half-written state
            target.write_bytes(data)
            return
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CreditError(f"cannot write {name}: {error.strerror}. Nothing was written.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

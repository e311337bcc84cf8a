"""A JSONL file that grows by whole lines, each on the disk before the work goes on: a header, then a line a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dpo_credit.credit import CreditError
from dpo_credit.rows.output import json_line

T = TypeVar("T")


class Kept:
    """The file that a long run is written to.

    Args:
        path: the file.
        mode: "new" (there must be none), "resume" or "overwrite".

    Raises:
        CreditError: there is one already.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path, self.mode = path, mode
        if path.exists() and mode == "new":
            raise CreditError(f"{path} exists. Go on with --resume, replace it with --overwrite, or name another.")

    def begin(self, head: dict[str, Any], known: Callable[[bytes], T], nothing: T) -> T:
        """Write the header and give `nothing`; or give what is `known` already, without a line that was cut off.

        Raises:
            CreditError: it cannot be written, or `known` refuses what is there.
        """
        if self.mode == "resume" and self.path.exists() and (data := self.path.read_bytes()).strip():
            whole = data[: data.rfind(b"\n") + 1]
            found = known(whole)
            if len(whole) < len(data):  # cut where it stands: written anew, a kill would leave nothing
                self._cut(len(whole))
            return found
        self._write((json_line(head) + "\n").encode(), "wb")
        return nothing

    def add(self, line: str) -> None:
        """Append a line.

        Raises:
            CreditError: it cannot be written.
        """
        self._write(line.encode(), "ab")

    def _write(self, data: bytes, mode: str) -> None:
        with self._said(), open(self.path, mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _cut(self, length: int) -> None:
        with self._said(), open(self.path, "r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CreditError(f"cannot write {self.path}: {error.strerror}. Go on with --resume.") from error

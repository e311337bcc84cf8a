"""A JSONL file that grows by whole lines, each on the disk before the work goes on: a header, then a line a step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dpo_credit.credit import CreditError
from dpo_credit.rows.durable import append, lock, open_file, read
from dpo_credit.rows.output import json_line

T = TypeVar("T")


class Kept:
    """The file that a long run is written to, locked against a second writer from `begin` on.

    `begun` is, once `check` was asked, the header of the run that is there to be resumed, if any.

    Args:
        path: the file.
        mode: "new" (there must be none), "resume" or "overwrite".

    Raises:
        CreditError: there is one already.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path, self.mode = path, mode
        self._handle: int | None = None
        self.begun: dict[str, Any] = {}
        if path.exists() and mode == "new":
            raise CreditError(f"{path} exists. Go on with --resume, replace it with --overwrite, or name another.")

    def check(self) -> None:
        """Refuse what `begin` would refuse, as far as that can be said before the work; writes nothing.

        Raises:
            CreditError: another run is writing the file.
        """
        if not self.path.exists():
            return
        with self._said():
            handle = open_file(self.path, os.O_RDWR)
            try:
                lock(handle, self.path)
                if self.mode == "resume":
                    self.begun = _header(read(handle))
            finally:
                os.close(handle)

    def begin(self, head: dict[str, Any], known: Callable[[bytes], T], nothing: T) -> T:
        """Write the header and give `nothing`; or give what is `known` already, without a line that was cut off.

        Raises:
            CreditError: it cannot be written, another run is writing it, or `known` refuses what is there.
        """
        with self._said():
            self._handle = open_file(self.path, os.O_RDWR | os.O_CREAT)
            lock(self._handle, self.path)
            data, first = read(self._handle), (json_line(head) + "\n").encode()
            if (
                self.mode == "resume" and data.strip() and not first.startswith(data)
            ):  # a part of a header is nothing yet
                whole = data[: data.rfind(b"\n") + 1]
                result = known(whole)
                if len(whole) < len(data):  # cut where it stands: written anew, a kill would leave nothing
                    os.ftruncate(self._handle, len(whole))
                return result
            os.ftruncate(self._handle, 0)
            append(self._handle, self.path, first)
        return nothing

    def add(self, line: str) -> None:
        """Append a line.

        Raises:
            CreditError: it cannot be written, or was moved.
        """
        assert self._handle is not None, "begin comes first"
        with self._said():
            append(self._handle, self.path, line.encode())

    def close(self) -> None:
        """Let go of the file, and of the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CreditError(f"cannot write {self.path}: {error.strerror}. Go on with --resume.") from error


def _header(data: bytes) -> dict[str, Any]:
    """A file's first line, as far as it is JSON: whoever resumes it says what is wrong with it."""
    try:
        head = json.loads(data.partition(b"\n")[0])
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}

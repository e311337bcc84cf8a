"""A run's files, safe against `kill -9`: its output, its errors, and a journal that says how far they are good.

The journal (`OUTPUT.journal`, JSON Lines) begins with what decides the numbers and gets a line a chunk. A chunk's rows
and errors are on the disk before its line is written: whatever lies behind the last whole line never happened, and
resuming cuts it off. It stays when the run is done: it says where the output came from, and its lock is never renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from dpo_credit.checked import check_fields
from dpo_credit.credit import CreditError
from dpo_credit.rows.durable import append, keep_mode, lock, open_file, read, sync
from dpo_credit.rows.settings import refuse_changes

FORMAT = "dpo-credit/journal@1"
Mode = Literal["new", "resume", "overwrite"]


@dataclass(frozen=True, slots=True)
class Commit:
    """How far a run has come.

    `rows` were read and `input` is the hash of them; their results are the first `output` bytes of the output and
    `errors` bytes of the errors. `state` and `counts` are the run's own, to go on from.
    """

    rows: int = 0
    input: str = ""
    output: int = 0
    errors: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """What the output's file is made of: each chunk `packed`, or the whole `converted` when all rows are there.

    What is converted may leave something to say.
    """

    pack: Callable[[bytes], bytes] | None = None
    convert: Callable[[Path, Path], list[str]] | None = None


class Journal:
    """The files of one run, locked against any other.

    Args:
        output: where the rows shall go. Its errors are `OUTPUT.errors.jsonl`; with a format that converts, rows wait
            in `OUTPUT.rows.jsonl`.
        mode: "new" refuses to touch what is there; "resume" goes on with it, or begins where nothing is.
        format: see `Format`.

    Raises:
        CreditError: the files are another run's, or cannot be written; nothing is lost then.
    """

    def __init__(self, output: Path, mode: Mode = "new", format: Format = Format()) -> None:
        self.output, self.mode, self.format = output, mode, format
        self.rows = beside(output, "rows.jsonl") if format.convert else output
        self.errors, self.journal = beside(output, "errors.jsonl"), beside(output, "journal")
        self.last = Commit()
        self.done = False
        self.notes: list[str] = []
        self.begun: dict[str, Any] = {}
        self._files: dict[Path, int] = {}

    def check(self) -> None:
        """Refuse what `begin` would refuse, as far as that can be said without the models; writes nothing.

        `begun` are then the settings of the run that is there to be resumed, if any.

        Raises:
            CreditError: see above.
        """
        if self.output.is_dir():
            raise CreditError(f"cannot write {self.output}: Is a directory. Nothing was written.")
        if not self.output.parent.is_dir():
            raise CreditError(f"cannot write {self.output}: No such file or directory. Nothing was written.")
        if not os.access(self.output if self.output.exists() else self.output.parent, os.W_OK):
            raise CreditError(f"cannot write {self.output}: Permission denied. Nothing was written.")
        with self._said():
            try:
                if self.journal.exists():
                    self._open(self.journal, os.O_RDWR)
                    lock(self._files[self.journal], self.output)
                    if self.mode == "resume" and (entries := self._entries()):
                        self.begun = entries[0]
                self._refuse_to_replace()
            finally:
                self.close()

    def begin(self, settings: dict[str, Any]) -> None:
        """Open the files, cut to the last commit, which is `last`.

        Args:
            settings: what decides the numbers, as JSON; a run goes on under the same alone.
        """
        with self._said():
            if not self.journal.exists():
                self._refuse_to_replace()
            self._open(self.journal, os.O_RDWR | os.O_CREAT)
            lock(self._files[self.journal], self.output)
            self._refuse_to_replace()
            entries = self._entries()
            if entries and self.mode == "resume":
                self._go_on(entries, settings)
            else:
                self._start(settings)

    def append(self, lines: list[str], errors: list[str], commit: Commit) -> None:
        """Write a chunk's rows and errors and commit them; the lengths in `commit` are filled in.

        Raises:
            CreditError: they cannot be written; what was committed before stays good.
        """
        rows = "".join(f"{line}\n" for line in lines).encode()
        if rows and self.format.pack:
            rows = self.format.pack(rows)
        wrong = "".join(f"{line}\n" for line in errors).encode()
        with self._said():
            self._write(self.rows, rows)
            if wrong:
                self._write(self.errors, wrong)
            lengths = {"output": self.last.output + len(rows), "errors": self.last.errors + len(wrong)}
            commit = Commit(**{**asdict(commit), **lengths})
            self._note(asdict(commit))
            self.last = commit

    def finish(self) -> None:
        """Make the output whole and say so in the journal; what an earlier run finished stays as it is.

        Raises:
            CreditError: it cannot be written; resuming tries again.
        """
        if self.done:
            return
        with self._said():
            if self.format.convert:
                whole = beside(self.output, "unfinished")
                self.notes = self.format.convert(self.rows, whole)
                keep_mode(whole, self.rows)
                sync(whole)
                os.replace(whole, self.output)
                sync(self.output.parent)
            self._note({"done": True})
            self.done = True
            self._tidy()

    def close(self) -> None:
        """Let go of the files, and of the lock."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_to_replace(self) -> None:
        entries = self._entries() if self.journal in self._files else []
        if self.mode == "overwrite" or (entries and self.mode == "resume"):
            return
        if entries and "done" in entries[-1]:
            raise CreditError(f"{self.output} is there and complete. Name another output, or replace it: --overwrite.")
        if entries:
            raise CreditError(
                f"{self.output} holds {entries[-1].get('rows', 0)} rows of a run that was interrupted. Go on with "
                "--resume, or begin again with --overwrite."
            )
        there = [path for path in (self.output, self.rows, self.errors) if path.exists() and path.stat().st_size]
        if there and self.mode == "new":
            raise CreditError(f"{there[0]} is there already. Name another output, or replace it: --overwrite.")
        if there and not self.journal.exists():  # an empty one: a run told to overwrite, killed before it began
            raise CreditError(
                f"{there[0]} has no {self.journal.name} beside it, so nothing says how far it is good. Begin again "
                "with --overwrite."
            )

    def _start(self, settings: dict[str, Any]) -> None:
        """Empty the journal first: from then on what else is there counts for nothing."""
        os.ftruncate(self._files[self.journal], 0)
        os.fsync(self._files[self.journal])
        fresh = beside(self.output, "unfinished")
        fresh.unlink(missing_ok=True)
        self._open(self.rows, os.O_WRONLY | os.O_CREAT, at=fresh)
        keep_mode(fresh, self.output if self.output.exists() else self.rows)
        os.replace(fresh, self.rows)
        for old in {self.output, self.errors} - {self.rows}:
            old.unlink(missing_ok=True)
        sync(self.output.parent)
        self._note({"journal": FORMAT, **settings})

    def _go_on(self, entries: list[dict[str, Any]], settings: dict[str, Any]) -> None:
        was = {name: value for name, value in entries[0].items() if name != "journal"}
        refuse_changes(self.output, was, settings)
        self.done = "done" in entries[-1]
        commits = [entry for entry in entries if "rows" in entry]
        self.last = Commit(**commits[-1]) if commits else Commit()
        converted = self.done and self.format.convert is not None
        lengths = {self.output: 1} if converted else {self.rows: self.last.output}
        if self.last.errors:
            lengths[self.errors] = self.last.errors
        for path, length in lengths.items():
            if not path.exists() or path.stat().st_size < length:
                raise CreditError(
                    f"{path} is shorter than its journal says: it was changed or moved. Begin again with --overwrite."
                )
        if self.done:
            self._tidy()
            return
        for path, length in lengths.items():
            os.ftruncate(self._open(path, os.O_WRONLY), length)
        if not self.last.errors:
            self.errors.unlink(missing_ok=True)

    def _entries(self) -> list[dict[str, Any]]:
        """The journal's lines; a torn last one is cut off."""
        handle = self._files[self.journal]
        data = read(handle)
        whole = data[: data.rfind(b"\n") + 1]
        try:
            entries = [json.loads(line) for line in whole.splitlines()]
            if entries and entries[0]["journal"] != FORMAT:
                raise ValueError(entries[0]["journal"])
            for entry in entries[1:]:
                if "rows" in entry:
                    check_fields(entry, Commit, str(self.journal), "", required=[part.name for part in fields(Commit)])
                    if min(entry["rows"], entry["output"], entry["errors"]) < 0:
                        raise ValueError("a length below zero")
        except (ValueError, KeyError, TypeError, RecursionError, CreditError) as error:
            raise CreditError(f"{self.journal} is no journal of this version. Begin again with --overwrite.") from error
        if len(whole) < len(data):
            os.ftruncate(handle, len(whole))
        return entries

    def _tidy(self) -> None:
        if self.format.convert:
            self.rows.unlink(missing_ok=True)

    def _open(self, path: Path, flags: int, at: Path | None = None) -> int:
        self._files[path] = open_file(at or path, flags)
        return self._files[path]

    def _write(self, path: Path, data: bytes) -> None:
        """Append to a file, down to the disk."""
        handle = self._files.get(path)
        if handle is None:
            handle = self._open(path, os.O_WRONLY | os.O_CREAT)
            keep_mode(path, self.rows)
            sync(path.parent)
        append(handle, path, data)

    def _note(self, entry: dict[str, Any]) -> None:
        self._write(self.journal, json.dumps(entry).encode() + b"\n")

    @contextmanager
    def _said(self) -> Iterator[None]:
        """What the system refuses, as one line that says what is kept."""
        try:
            yield
        except OSError as error:
            kept = (
                f"Its first {self.last.rows} rows are kept: remove the cause, then go on with --resume."
                if self.last.rows
                else "No row was written."
            )
            name = error.filename or self.output
            raise CreditError(f"cannot write {name}: {error.strerror}. {kept}") from error


def beside(output: Path, suffix: str) -> Path:
    """A file of the run's own, next to its output."""
    return output.with_name(f"{output.name}.{suffix}")

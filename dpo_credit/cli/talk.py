"""What a command says beside its results: notes and progress, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from dpo_credit.cli.heartbeat import Stage, heartbeat
from dpo_credit.cli.terminal import Terminal, one_line

if TYPE_CHECKING:
    from dpo_credit.credit import Credit
    from dpo_credit.rows.records import Row


class Talk:
    """The voice of one command. `quiet` keeps notes and progress to itself."""

    def __init__(self, quiet: bool) -> None:
        self.stderr = Terminal(stderr=True, quiet=quiet)
        self._said: set[str] = set()
        _silence_libraries()
        library = logging.getLogger("dpo_credit")
        library.setLevel(logging.INFO)
        library.handlers = [_Voice(self)]

    @contextmanager
    def working(self, task: str) -> Iterator[Stage]:
        """A spinner on stderr, where that is a terminal, else a line every 30 s; what it says may be updated."""
        spinner = "line" if self.stderr.options.ascii_only else "dots"
        with self.stderr.status(Text(task), spinner=spinner) as status:
            stage = Stage(status, task)
            with heartbeat(self.stderr, stage.line):
                yield stage

    def notes(self, notes: Iterable[str]) -> None:
        """Say each note once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self.stderr.print(f"note: {one_line(note)}", soft_wrap=True)

    def noted(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Rows as they come, with what there is to say about how each was read."""
        for row in rows:
            self.notes(row.notes)
            yield row

    def notes_of(self, rows: Iterable[Sequence[Credit]]) -> None:
        """Say what there is to say of rows of answers: a line a kind, with how many rows it is about.

        Of a single row, how many answers.
        """
        from dpo_credit.rows.tally import Tally

        of_rows, of_answers = Tally(), Tally()
        for row in rows:
            of_rows.add(row[-1].id, [note for credit in row for note in credit.tokens.notes])
            if of_rows.things == 1:
                for credit in row:
                    of_answers.add(credit.id, credit.tokens.notes)
        self.notes(of_rows.lines("rows") if of_rows.things > 1 else of_answers.lines("answers"))

    def say(self, line: str) -> None:
        """Say how it went."""
        self.stderr.print(one_line(line), soft_wrap=True)

    def complain(self, line: str) -> None:
        """Say what went wrong, quiet or not."""
        print(one_line(line), file=sys.stderr)


class _Voice(logging.Handler):
    """Says what our library logs, which is what takes long."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        self._talk.notes([record.getMessage()])


def _silence_libraries() -> None:
    """Libraries warn and draw progress bars of their own on stderr; what matters of it, we say ourselves."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    for silent in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):  # no network unless a model's name asks for it
        os.environ.setdefault(silent, "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")

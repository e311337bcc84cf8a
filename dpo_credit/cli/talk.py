"""What a command says beside its results: notes and progress, on stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console

from dpo_credit.cli.heartbeat import Stage, heartbeat


class Talk:
    """The voice of one command. `quiet` keeps notes and progress to itself."""

    def __init__(self, quiet: bool) -> None:
        self.stderr = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
        self._said: set[str] = set()
        _silence_libraries()

    @contextmanager
    def working(self, task: str) -> Iterator[Stage]:
        """A spinner on stderr, where that is a terminal, else a line every 30 s; what it says may be updated."""
        with self.stderr.status(task) as status:
            stage = Stage(status, task)
            with heartbeat(self.stderr, stage.line):
                yield stage

    def notes(self, notes: Iterable[str]) -> None:
        """Say each note once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self.stderr.print(f"note: {note}", soft_wrap=True)

    def say(self, line: str) -> None:
        """Say how it went."""
        self.stderr.print(line, soft_wrap=True)

    def complain(self, line: str) -> None:
        """Say what went wrong, quiet or not."""
        print(line, file=sys.stderr)


def _silence_libraries() -> None:
    """Libraries warn and draw progress bars of their own on stderr; what matters of it, we say ourselves."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    for silent in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):  # no network unless a model's name asks for it
        os.environ.setdefault(silent, "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")

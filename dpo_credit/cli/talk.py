"""What a command says beside its results: notes and progress, on stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager

from rich.console import Console


class Talk:
    """The voice of one command. `quiet` keeps notes and progress to itself."""

    def __init__(self, quiet: bool) -> None:
        self._stderr = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
        self._said: set[str] = set()
        _silence_libraries()

    def working(self, task: str) -> AbstractContextManager[object]:
        """A spinner on stderr, where that is a terminal."""
        return self._stderr.status(task)

    def notes(self, notes: Iterable[str]) -> None:
        """Say each note once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self._stderr.print(f"note: {note}", soft_wrap=True)


def _silence_libraries() -> None:
    """Libraries warn and draw progress bars of their own on stderr; what matters of it, we say ourselves."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")

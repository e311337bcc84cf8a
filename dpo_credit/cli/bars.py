"""How far a long command is: one bar on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

TEXT, LEFT = "{task.fields[text]}", "{task.fields[left]}"  # columns that show what `Bar.show` was told


class Bar:
    """A bar that stands on the screen."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = progress.add_task(task, total=None, text="", left="")

    def show(
        self, done: float, total: float | None = None, *, text: str | None = None, left: str | None = None
    ) -> None:
        """So much is done, of so much if that is known; a `text` and the time `left` stay until the next ones."""
        texts: dict[str, Any] = {name: value for name, value in (("text", text), ("left", left)) if value is not None}
        self._progress.update(self._task, completed=done, total=total, **texts)


@contextmanager
def bar(stderr: Console, task: str, *columns: str | ProgressColumn, stays: bool = False) -> Iterator[Bar]:
    """A bar for a task, followed by columns such as `TEXT`; it goes when the block ends, unless it `stays`."""
    columns = (TextColumn("{task.description}"), BarColumn(), *columns)
    with Progress(*columns, console=stderr, transient=not stays, disable=not stderr.is_terminal) as progress:
        yield Bar(progress, task)

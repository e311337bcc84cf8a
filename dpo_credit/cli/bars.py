"""How far a long command is: one bar on stderr where that is a terminal, else a plain line every 30 s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpo_credit.cli.heartbeat import duration, heartbeat

TEXT = "{task.fields[text]}"  # a column that shows what `Bar.show` was told
RATE_S = 600.0  # over which the rate is taken that tells the time left: steps may take minutes


class Bar:
    """A bar that stands on the screen."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = progress.add_task(task, total=None, text="")

    def show(self, done: float, total: float | None = None, *, text: str | None = None) -> None:
        """So much is done, of so much if that is known; a `text` stays until the next one."""
        texts: dict[str, Any] = {} if text is None else {"text": text}
        self._progress.update(self._task, completed=done, total=total, **texts)

    def line(self, columns: Sequence[ProgressColumn]) -> str:
        """The task and what its columns show, in plain words."""
        (task,) = self._progress.tasks
        shown: list[str] = []
        for column in columns:
            if isinstance(column, TimeElapsedColumn):
                shown.append(f"{duration(task.elapsed or 0)} so far")
            elif isinstance(column, TimeRemainingColumn):
                shown += [] if not task.time_remaining else [f"{duration(task.time_remaining)} left"]
            else:
                shown.append(str(column(task)).strip())
        return f"{task.description}: {', '.join(filter(None, shown))}"


@contextmanager
def bar(
    stderr: Console,
    task: str,
    *columns: str | ProgressColumn,
    stays: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Bar]:
    """A bar for a task, followed by columns such as `TEXT`; it goes when the block ends, unless it `stays`."""
    own = [TextColumn(column, markup=False) if isinstance(column, str) else column for column in columns]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *own,
        console=stderr,
        transient=not stays,
        disable=not stderr.is_terminal,
        get_time=clock,
        speed_estimate_period=RATE_S,
    ) as progress:
        shown = Bar(progress, task)
        with heartbeat(stderr, lambda: shown.line(own)):
            yield shown

"""A long command's sign of life where stderr is no terminal (nohup, Slurm, CI): one plain line every 30 s."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from dpo_credit.cli.terminal import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

EVERY_S = 30.0


class Stage:
    """What a command is at: a spinner on a terminal, else the line of a heartbeat."""

    def __init__(self, status: Status, task: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._status, self._task, self._clock = status, task, clock
        self._began = clock()

    def update(self, task: str) -> None:
        """From now on it is at this."""
        self._task = task
        self._status.update(Text(task))

    def line(self) -> str:
        """What it is at, and how long the command has been at this and the stages before it."""
        return f"{self._task} ({duration(self._clock() - self._began)} so far)"


@contextmanager
def heartbeat(stderr: Console, line: Callable[[], str]) -> Iterator[None]:
    """While the block runs, say every 30 s what `line` gives then; not on a terminal, nor where stderr is quiet."""
    if stderr.is_terminal or stderr.quiet:
        yield
        return

    def say() -> None:
        stderr.print(one_line(line()), soft_wrap=True, markup=False, highlight=False)

    over = threading.Event()
    thread = threading.Thread(target=beat, args=(over.wait, say), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def beat(wait: Callable[[float], bool], say: Callable[[], None]) -> None:
    """Say something each time that 30 s have passed, until `wait` finds that it is over."""
    while not wait(EVERY_S):
        say()


def duration(seconds: float) -> str:
    """Seconds as people say them: in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

"""Ctrl-C that loses nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dpo_credit.cli.talk import Talk

INTERRUPTED = 128 + signal.SIGINT


@contextmanager
def stopping(talk: Talk, when: str) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the work to stop `when` it can without loss; a second one ends it at once."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        talk.notes([f"stopping {when}; Ctrl-C again stops at once"])

    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:  # a shell's background jobs are deaf to it
        signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

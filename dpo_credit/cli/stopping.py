"""Ends that lose nothing: Ctrl-C, SIGTERM (a scheduler's), SIGHUP (of a terminal that was closed)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dpo_credit.cli.talk import Talk

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_ENDS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)
_AGAIN_S = 0.01
_Handler = Callable[[int, FrameType | None], None]


class Stop:
    """Whether the work was asked to stop; `code` is then what the program exits with: 128 + the signal's number."""

    code = 0

    def __call__(self) -> bool:
        return self.code != 0


@contextmanager
def ending() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the program, its temporary files removed; the exit code is 128 + the number.

    Once it has ended they are the system's: Python's own end would answer SIGINT with a traceback.
    """

    asked = Stop()

    def end(number: int, frame: FrameType | None) -> None:
        _hang_up(number)
        asked.code = 128 + number
        raise SystemExit(asked.code)

    with _handled(_ENDS, end, after=signal.SIG_DFL), _swallowed_ends_raised_again():
        try:
            yield
        except BaseException as error:
            # what a library made of the end, or what went wrong since it swallowed that
            if code := asked.code or _end_within(error):
                raise SystemExit(code) from None
            raise


def _end_within(error: BaseException | None) -> int:
    """The exit code of an end that became another error on its way, else 0.

    Python 3.11 makes a RuntimeError of whatever is raised while a class gets its attributes, as in an import.
    """
    cause = error
    while cause is not None:
        if isinstance(cause, SystemExit) and isinstance(cause.code, int) and cause.code > 128:
            return cause.code
        cause = cause.__cause__ or cause.__context__
    return 0


@contextmanager
def _swallowed_ends_raised_again() -> Iterator[None]:
    """An end that falls into a destructor or a weak reference's callback, where Python drops it, comes once more."""
    before = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if code := _end_within(dropped.exc_value):
            # a moment later, for here it would be dropped again
            again = threading.Timer(_AGAIN_S, _raise_in_main_thread, (code - 128,))
            again.daemon = True
            again.start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _raise_in_main_thread(number: int) -> None:
    """Signal it there, where whatever it sleeps or waits for is then interrupted."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        signal.raise_signal(number)


@contextmanager
def stopping(talk: Talk, when: str) -> Iterator[Stop]:
    """The first signal asks the work to stop `when` it can without loss; a second one ends it at once."""
    asked = Stop()

    def stop(number: int, frame: FrameType | None) -> None:
        _hang_up(number)
        if asked():
            raise SystemExit(128 + number)
        asked.code = 128 + number
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        talk.notes([f"stopping {when}; {name} again stops at once"])

    with _handled(_ENDS, stop):
        yield asked


@contextmanager
def _handled(signals: tuple[int, ...], handler: _Handler, after: signal.Handlers | None = None) -> Iterator[None]:
    """Signals handled, but for those that the program was started deaf to, as nohup and a shell's background do.

    `after` says what answers them then; None is what did before.
    """
    before = {number: signal.getsignal(number) for number in signals}
    heard = [number for number in signals if before[number] != signal.SIG_IGN]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number] if after is None else after)


def _hang_up(number: int) -> None:
    """After a SIGHUP, let what is said to a terminal that is gone go nowhere: each line would be an error."""
    if number != _HANGUP:
        return
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)

"""Asking an API over HTTP: what a reply may take in time and bytes, when it is asked for again, what is never said."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from queue import Empty, SimpleQueue
from time import sleep
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from dpo_credit.credit import CreditError

RETRIES = 5
MOST_WAIT_S = 60.0  # before a retry, whatever the API asks for
_AGAIN = (408, 409, 429)  # statuses, besides 500 and above, after which asking again may help

T = TypeVar("T")
Item = TypeVar("Item")


class Unanswered(Exception):
    """Why there is no answer; whether asking again may help, and after how many seconds, if the API says.

    `status`: HTTP's, where there is one.
    """

    def __init__(
        self, reason: str, *, again: bool = True, wait: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.again, self.wait, self.status = again, wait, status


def bare(url: str) -> str:
    """An address without what may be secret in it: names, passwords and what follows a question mark."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # none at all
        parts, port = None, ""
    if parts is None or not parts.netloc:
        return re.split("[?#]", url, maxsplit=1)[0].rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{parts.hostname or ''}{port}", parts.path, "", ""))


def is_address(name: object) -> bool:
    """Whether what names a model is the address of a server."""
    return str(name).lower().startswith(("http://", "https://"))


def is_key(key: str) -> bool:
    """Whether a key fits into a request's header."""
    return key.isascii() and key.isprintable()


def asked(ask: Callable[[], T], whose: str, tell: Callable[[str], None]) -> T:
    """What an API answers, asked again where that may help; `tell` hears of each retry.

    Raises:
        Unanswered: it does not answer.
    """
    for tries in count(1):
        try:
            return ask()
        except Unanswered as failure:
            if not failure.again or tries > RETRIES:
                raise
            wait = min(MOST_WAIT_S, 2.0 ** (tries - 1) if failure.wait is None else failure.wait)
            tell(f"{whose} does not answer ({failure}); asking again in {wait:.3g} s, {tries} of {RETRIES}")
            sleep(wait)
    raise AssertionError  # the count has no end


def refused(status: int, headers: Mapping[str, str], said: str = "") -> Unanswered:
    """Why there is no answer, of a reply's status and headers, and of what it says, if that may be shown."""
    if 300 <= status < 400:
        to = f" to {bare(headers['location'])}" if "location" in headers else ""
        return Unanswered(f"status {status}: a redirect{to}, where no post is sent", again=False, status=status)
    reason = f"status {status}: {said}" if said else f"status {status}"
    return Unanswered(reason, again=status in _AGAIN or status >= 500, wait=retry_after(headers), status=status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply's headers ask for before the next request: a number, milliseconds, or a date."""
    given = headers.get("retry-after", "")
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif given.strip().replace(".", "", 1).isdigit():
            seconds = float(given)
        else:
            seconds = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if seconds == seconds else None


def whole(chunks: Iterable[bytes], encoding: str | None, most: int, over: threading.Event) -> bytes:
    """A reply's body, or as much as came until it was `over`.

    Raises:
        CreditError: it has more than `most` bytes, or is compressed, so that nobody knows how large it is; the message
            is what the sender does.
    """
    if (encoding or "identity") != "identity":
        raise CreditError("sends a compressed reply, which was not asked for.")
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise CreditError(f"sends more than {most // 2**20} MiB, which is no reply to what was asked.")
        if over.is_set():  # nobody waits for it any more
            break
    return bytes(body)


def within(seconds: float, work: Callable[[threading.Event], T]) -> T:
    """What `work` gives or raises; it is told when its time is over.

    A read's own time limit, as HTTP libraries have it, begins anew with each byte.

    Raises:
        TimeoutError: it takes longer; a thread of its own, which dies with the program, goes on waiting.
    """
    over = threading.Event()
    ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
    threading.Thread(target=lambda: ended.put(_outcome(lambda: work(over))), daemon=True).start()
    try:
        value, error = ended.get(timeout=seconds)
    except Empty:
        over.set()
        raise TimeoutError from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is one where there is no error


def together(work: Callable[[Item], T], items: Sequence[Item], at_a_time: int) -> list[T]:
    """What `work` gives of each item, in their order, so many at a time.

    Raises:
        Exception: what it raises of one; those that were not begun are not.
    """
    results: dict[int, T] = {}
    ended: SimpleQueue[tuple[int, T | None, BaseException | None]] = SimpleQueue()
    left: Iterator[tuple[int, Item]] = iter(list(enumerate(items)))  # a list's: threads may share it
    over = threading.Event()

    def run() -> None:
        for index, item in left:
            if over.is_set():
                return
            ended.put((index, *_outcome(lambda item=item: work(item))))  # type: ignore[misc]

    for _ in range(min(at_a_time, len(items))):
        threading.Thread(target=run, daemon=True).start()  # one that waits for a reply dies with the program
    try:
        for _ in items:
            index, value, error = ended.get()
            if error is not None:
                raise error
            results[index] = value  # type: ignore[assignment]  # as in `within`
    finally:
        over.set()
    return [results[index] for index in range(len(items))]


def _outcome(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # it is raised where the result is waited for
        return None, error

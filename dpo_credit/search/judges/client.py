"""The HTTP client of a judge behind an API: bounds on what a reply may take, in time and in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import openai

from dpo_credit.credit import CreditError

MOST_BYTES = 8 * 2**20  # of a reply; a verdict is a few hundred


class Client(openai.DefaultHttpxClient):
    """A client whose every reply is here, whole, within so many seconds and `MOST_BYTES`; it follows no redirect.

    A read's own time limit, as HTTP libraries have it, begins anew with each byte.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "identity"})  # posts go to no other host
        self._seconds = seconds

    def send(self, request: Any, **options: Any) -> Any:
        """The reply, read.

        Raises:
            CreditError: it is too large, or compressed, so that nobody knows how large it is.
            openai.APITimeoutError: it takes too long.
        """
        ask = super().send
        over = threading.Event()

        def whole() -> Any:
            reply = ask(request, **{**options, "stream": True})
            try:
                return type(reply)(
                    reply.status_code, headers=reply.headers, content=_body(reply, over), request=request
                )
            finally:
                reply.close()

        try:
            return _within(self._seconds, whole)
        except TimeoutError as error:
            over.set()
            raise openai.APITimeoutError(request=request) from error


def _body(reply: Any, over: threading.Event) -> bytes:
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise CreditError("sends a compressed reply, which was not asked for.")
    body = bytearray()
    for chunk in reply.iter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise CreditError(f"sends more than {MOST_BYTES // 2**20} MiB, which is no verdict.")
        if over.is_set():  # nobody waits for it any more
            break
    return bytes(body)


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` gives or raises.

    Raises:
        TimeoutError: it takes longer; a thread of its own, which dies with the program, goes on waiting.
    """
    ended: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((work(), None))
        except BaseException as error:  # it is raised where the result is waited for
            ended.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return value

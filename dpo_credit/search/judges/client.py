"""The HTTP client of a judge behind an API: bounds on what a reply may take, in time and in bytes."""

from __future__ import annotations

import threading
from typing import Any

import openai

from dpo_credit.endpoint import whole, within

MOST_BYTES = 8 * 2**20  # of a reply; a verdict is a few hundred


class Client(openai.DefaultHttpxClient):
    """A client whose every reply is here, whole, within so many seconds and `MOST_BYTES`; it follows no redirect."""

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

        def read(over: threading.Event) -> Any:
            reply = ask(request, **{**options, "stream": True})
            try:
                body = whole(reply.iter_raw(), reply.headers.get("Content-Encoding"), MOST_BYTES, over)
                return type(reply)(reply.status_code, headers=reply.headers, content=body, request=request)
            finally:
                reply.close()

        try:
            return within(self._seconds, read)
        except TimeoutError as error:
            raise openai.APITimeoutError(request=request) from error

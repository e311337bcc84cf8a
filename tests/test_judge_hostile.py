"""A judge behind an API that misbehaves: what its replies may take, how often it is asked, and what is said of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from email.utils import formatdate
from itertools import cycle
from pathlib import Path

import credits
import pytest
from program import run

pytest.importorskip("openai")

from dpo_credit.credit import CreditError
from dpo_credit.endpoint import MOST_WAIT_S, RETRIES
from dpo_credit.search.judges import Contest, client
from dpo_credit.search.judges.openai import Endpoint

SAID = {"choices": [{"message": {"role": "assistant", "content": 'Preferred: "A"'}}]}
Send = Callable[[bytes], None]
Reply = Callable[[Send], None]


def http(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {length or len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def once(data: bytes) -> Reply:
    return lambda send: send(data)


def drip(data: bytes, rest: bytes, pause: float) -> Reply:
    """Some bytes at once, the rest one at a time."""

    def reply(send: Send) -> None:
        send(data)
        for n in range(len(rest)):
            time.sleep(pause)
            send(rest[n : n + 1])

    return reply


GOOD = once(http(json.dumps(SAID).encode()))


class Judge:
    """A server that gives its replies in turn, each as it pleases, and keeps what it was sent."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.asked: list[bytes] = []
        self._replies = cycle(replies)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(connection, next(self._replies)), daemon=True).start()

    def _answer(self, connection: socket.socket, reply: Reply) -> None:
        with connection:
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"length:" in line)
            while len(body) < length:
                body += connection.recv(65536)
            self.asked.append(head)
            with suppress(OSError):  # nobody reads any more
                reply(connection.sendall)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def served() -> Iterator[Callable[..., Judge]]:
    judges: list[Judge] = []

    def serve(*replies: Reply) -> Judge:
        judges.append(Judge(replies))
        return judges[-1]

    yield serve
    for judge in judges:
        judge.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before each retry, without the wait."""
    waited: list[float] = []
    monkeypatch.setattr("dpo_credit.endpoint.sleep", waited.append)
    return waited


def ask(judge: Judge, path: str = "/v1", *, seconds: float = 5.0) -> tuple[str, list[str]]:
    """What the judge said, or what is said of it; and what was told meanwhile."""
    told: list[str] = []
    endpoint = Endpoint(judge.address + path, "m", "sk-secret", seconds=seconds, tell=told.append)
    case = Contest("x", "A post.", credits.credit(["good"], [0.0]), credits.credit(["bad"], [0.0]))
    try:
        return endpoint.judge(case).said, told
    except CreditError as error:
        return str(error), told


@pytest.mark.parametrize(
    ("data", "rest"), [(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 99), (http(b"", length=99), b"x" * 99)], ids=["head", "body"]
)
def test_a_reply_that_never_ends_is_given_up_in_time(
    served: Callable[..., Judge], monkeypatch: pytest.MonkeyPatch, waits: list[float], data: bytes, rest: bytes
) -> None:
    monkeypatch.setattr("dpo_credit.endpoint.RETRIES", 1)
    began = time.monotonic()
    said, told = ask(served(drip(data, rest, 0.1)), seconds=0.5)  # each byte restarts a read's own limit
    assert "does not answer (no whole reply in 0.5 s, which is --judge-timeout)" in said
    assert time.monotonic() - began < 4  # two tries of half a second; the bytes would take ten seconds each
    assert len(told) == len(waits) == 1 and told[0].endswith("asking again in 1 s, 1 of 1")


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
def test_a_reply_of_a_gigabyte_is_not_read_to_its_end(served: Callable[..., Judge], status: str) -> None:
    sent = 0

    def endless(send: Send) -> None:
        nonlocal sent
        send(http(b"", status, length=2**30))
        for _ in range(2**10):
            send(b" " * 2**20)
            sent += 2**20

    said, told = ask(served(endless))
    assert "sends more than 8 MiB, which is no reply to what was asked. Check --judge-url." in said and told == []
    assert sent < 8 * client.MOST_BYTES  # what the sockets' buffers hold beyond the limit


def test_a_compressed_reply_is_refused(served: Callable[..., Judge]) -> None:
    judge = served(once(http(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")))
    assert "sends a compressed reply" in ask(judge)[0]
    assert b"accept-encoding: identity" in judge.asked[0].lower()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), [1, 2]),  # 2^0 and 2^1 seconds
        (("Retry-After: 3",), [3, 3]),
        (("Retry-After: 99999999",), [MOST_WAIT_S, MOST_WAIT_S]),
        (("Retry-After: soon",), [1, 2]),
        (("Retry-After: -5",), [1, 2]),
        (("Retry-After-Ms: nan",), [1, 2]),
        ((f"Retry-After: {formatdate(0, usegmt=True)}",), [0, 0]),  # 1970
    ],
)
def test_a_busy_judge_is_asked_again_when_it_says(
    served: Callable[..., Judge], waits: list[float], headers: tuple[str, ...], expected: list[float]
) -> None:
    busy = once(http(b"{}", "429 Too Many Requests", *headers))
    said, told = ask(served(busy, busy, GOOD))
    assert said == 'Preferred: "A"' and waits == expected
    assert [line.partition(" (")[2] for line in told] == [
        f"status 429); asking again in {wait:g} s, {n} of {RETRIES}" for n, wait in enumerate(expected, 1)
    ]


@pytest.mark.parametrize("broken", [http(b"{", length=99), b"", b"nonsense\r\n\r\n"], ids=["cut", "nothing", "no HTTP"])
def test_a_connection_that_breaks_off_is_tried_anew(
    served: Callable[..., Judge], waits: list[float], broken: bytes
) -> None:
    judge = served(once(broken), GOOD)
    assert ask(judge)[0] == 'Preferred: "A"' and len(judge.asked) == 2
    said, told = ask(served(once(broken)))
    assert "does not answer (no connection, or one that broke off)" in said and len(told) == RETRIES


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"3",
        b'"text"',
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_chat_completion_is_said(served: Callable[..., Judge], body: bytes) -> None:
    said, told = ask(served(once(http(body))))
    assert said.endswith("gives no chat completion. Is it OpenAI-compatible?") and told == []


def test_a_redirect_gets_no_post_and_its_secrets_are_not_shown(served: Callable[..., Judge]) -> None:
    other = served(GOOD)
    place = other.address.replace("//", "//user:s3cret@")
    said, told = ask(served(once(http(b"", "307 Temporary Redirect", f"Location: {place}/v2?key=s3cret#s3cret"))))
    assert f"status 307: a redirect to {other.address}/v2, where no post is sent" in said
    assert other.asked == [] and told == [] and "s3cret" not in said


def test_an_address_with_secrets_works_and_is_written_bare(served: Callable[..., Judge], waits: list[float]) -> None:
    judge = served(GOOD)
    assert ask(judge, "/v1?key=s3cret&version=2#s3cret")[0] == 'Preferred: "A"'
    assert judge.asked[0].startswith(b"POST /v1/chat/completions?key=s3cret&version=2 HTTP")
    lines = [*ask(served(once(http(b"{}", "500 Broken"))), "/v1?key=s3cret")]
    assert len(waits) == RETRIES and "s3cret" not in str(lines) and "sk-secret" not in str(lines)


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-sécret", "sk-\x1b[2J"])
def test_a_key_that_fits_no_header_is_refused_unseen(key: str) -> None:
    with pytest.raises(CreditError, match="OPENAI_API_KEY holds characters that no key has") as raised:
        Endpoint("http://127.0.0.1/v1", "m", key)
    assert "sk-" not in str(raised.value)


def test_no_secret_of_an_address_reaches_file_page_or_terminal(
    served: Callable[..., Judge], tmp_path: Path, pair: tuple[str, ...]
) -> None:
    rows, kept, page, data = (tmp_path / name for name in ("rows.jsonl", "kept.jsonl", "page.html", "data.json"))
    rows.write_text('{"prompt": "b a", "chosen": " a b", "rejected": " c"}\n')
    judge = served(GOOD)
    address = judge.address.replace("//", "//user:s3cret@") + "/v1?key=s3cret#s3cret"
    asked = ("search", rows, *pair, "--beams", "1", "--max-new-tokens", "4", "--judge", "openai", "--judge-model", "m")
    ended = run(*asked, "--judge-url", address, "-o", kept, "--html", page, "--json", data, OPENAI_API_KEY="sk-s3cret")
    assert ended.code == 0, ended.stderr
    written = [kept.read_text(), page.read_text(), data.read_text(), ended.stdout, ended.stderr]
    assert f"at {judge.address}/v1" in written[0] and all("s3cret" not in text for text in written)

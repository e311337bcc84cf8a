"""A server as one side of a pair: it is sent token ids and gives their log-probabilities. Needs no torch.

Which server it is shows in what it answers (see `server_replies`). Its address may hold a name, a password and a query,
and it may want a key: they go to it and nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import re
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from dpo_credit.credit import UNKNOWN_DTYPE, CreditError, Logps, Tokens
from dpo_credit.endpoint import Unanswered, asked, bare, is_key, refused, together, whole, within
from dpo_credit.models.server_replies import DIALECTS, Dialect, Model, Question, is_shifted, same_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLY_S = 300.0  # for a reply, from the request to its last byte
MOST_BYTES = 64 * 2**20  # of a reply; a prompt's token takes about 80
AT_A_TIME = 8  # requests: servers batch what they are asked at once
_CHUNK = 2**16
_SAID = 200  # characters of what a server says of a request that it refuses
_PROBE = "In 1972, the café"  # what a server is asked first, and what goes on from there
_MORE = " near Zürich sold 35 croissants (2.5 kg) before noon; nobody complained!"
_START = 2  # where its numbers begin: llama-cpp-python has none for a first token after BOS
_SENT = re.compile("[!-~]*")  # what a request's line may hold
_log = logging.getLogger(__name__)


class Server:
    """The API of a server.

    Args:
        address: such as http://localhost:8000/v1; what follows a # is a model's name there (`wanted`).
        role: whose side it is.
        key: goes into the requests' header.

    Raises:
        CreditError: the address or the key is none.
    """

    def __init__(self, address: str, role: str, key: str | None = None) -> None:
        self.role = role
        if key is not None and not is_key(key):
            raise CreditError(
                f"DPO_CREDIT_{role.upper()}_KEY holds characters that no key has, such as a line break. Set it anew."
            )
        try:
            parts = urlsplit(address)
            place = parts._replace(
                netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") or "/v1", fragment=""
            )
            if not parts.hostname or parts.port == 0 or not _SENT.fullmatch(parts.path + parts.query):
                raise ValueError
        except ValueError as error:
            raise CreditError(
                f"{role} {bare(address)} is no address of a server: give one such as http://localhost:8000/v1"
            ) from error
        self.wanted = unquote(parts.fragment)
        self.url = bare(urlunsplit(place))
        self.whose = f"the server at {self.url}"
        self._place = place
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        elif parts.username is not None:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
        authorization = self._headers.get("Authorization", "").partition(" ")[2]
        queried = [value for _, value in parse_qsl(parts.query)]
        self._secrets = [text for text in (authorization, unquote(parts.password or ""), *queried) if text]
        self._opener = urllib.request.OpenerDirector()  # without what follows redirects: answers go to no other host
        for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()):
            self._opener.add_handler(handler)

    def ask(self, path: str, body: dict[str, Any] | None = None, *, outside: bool = False) -> dict[str, Any]:
        """The object that it answers, asked again where that may help.

        Args:
            path: under the address; with `outside`, under the address without its /v1.
            body: what is posted; None gets.

        Raises:
            Unanswered: it does not answer, or with something else.
            CreditError: the reply is too large.
        """
        return asked(lambda: self.ask_once(path, body, outside=outside), self.whose, _log.info)

    def ask_first(self, path: str, body: dict[str, Any] | None = None, *, outside: bool = False) -> dict[str, Any]:
        """`ask`, where status 500 is an answer: so some servers refuse what they do not know."""

        def once() -> dict[str, Any]:
            try:
                return self.ask_once(path, body, outside=outside)
            except Unanswered as failure:
                failure.again &= failure.status != 500
                raise

        return asked(once, self.whose, _log.info)

    def ask_once(self, path: str, body: dict[str, Any] | None = None, *, outside: bool = False) -> dict[str, Any]:
        """`ask`, without a second try."""
        under = self._place.path.removesuffix("/v1") if outside else self._place.path
        url = urlunsplit(self._place._replace(path=under + path))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, self._headers)
        try:
            status, headers, content = within(REPLY_S, lambda over: self._reply(request, over))
            answer = json.loads(content) if status == 200 else None
        except TimeoutError as error:
            raise Unanswered(f"no whole reply in {REPLY_S:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"no connection: {_reason(error)}") from error
        except (ValueError, RecursionError) as error:
            raise Unanswered("its reply is no JSON", again=False) from error
        except CreditError as error:
            raise CreditError(f"{self.whose} {error} Check --{self.role}.") from error
        if status != 200:
            raise refused(status, headers, self._said(content))
        if not isinstance(answer, dict):
            raise Unanswered("its reply is no JSON object", again=False)
        return answer

    def _reply(self, request: urllib.request.Request, over: Event) -> tuple[int, dict[str, str], bytes]:
        with self._opener.open(request, timeout=REPLY_S) as reply:
            chunks: Iterable[bytes] = iter(lambda: reply.read(_CHUNK), b"")
            body = whole(chunks, reply.headers.get("Content-Encoding"), MOST_BYTES, over)
            return reply.status, {name.lower(): value for name, value in reply.headers.items()}, body

    def _said(self, content: bytes) -> str:
        """What a server says of a request that it refuses; "" where it repeats a secret."""
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            return ""
        for name in ("error", "message", "detail"):
            if isinstance(said, dict) and said.get(name):
                said = said[name]
        text = " ".join((said if isinstance(said, str) else json.dumps(said)).split())
        if any(secret in text for secret in self._secrets):
            return ""
        return text if len(text) <= _SAID else f"{text[:_SAID]}…"

    def model(self) -> Model:
        """The model that is wanted, or the only one.

        Raises:
            CreditError: it is not there, none is, or nobody says which.
        """
        try:
            answer = self.ask("/models")
        except Unanswered as failure:
            raise self.unanswered(failure) from failure
        listed = answer.get("data")
        models = [_model(entry) for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        names = [model.name for model in models]
        if not names:
            raise CreditError(f"{self.whose} lists no models. Is it OpenAI-compatible, and is a model loaded?")
        if self.wanted and self.wanted not in names:
            raise CreditError(f"{self.whose} has no model {self.wanted}. It has {', '.join(names)}.")
        if not self.wanted and len(names) > 1:
            raise CreditError(
                f"{self.whose} has {len(names)} models: {', '.join(names)}. Name one after its address: #{names[0]}, "
                "say."
            )
        return models[names.index(self.wanted) if self.wanted else 0]

    def unanswered(self, failure: Unanswered) -> CreditError:
        """What to say where it does not answer."""
        key = f" Its key goes into DPO_CREDIT_{self.role.upper()}_KEY." if failure.status in (401, 403) else ""
        return CreditError(f"{self.whose} does not answer ({failure}). Check --{self.role}.{key}")


def _model(entry: dict[str, Any]) -> Model:
    root, parent = (value if isinstance(value := entry.get(key), str) else None for key in ("root", "parent"))
    limit = entry.get("max_model_len")
    return Model(str(entry.get("id")), root, parent, limit if isinstance(limit, int) else None)


def _reason(error: Exception) -> str:
    """Why there is no connection, or why it broke off."""
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


@dataclass(frozen=True, slots=True)
class ServerSide:
    """A model of a server, whose log-probabilities it gives in a dialect (see `server_replies`)."""

    server: Server
    model: Model
    dialect: Dialect
    tokenizer: PreTrainedTokenizerBase
    dtype: str = UNKNOWN_DTYPE

    @property
    def name(self) -> str:
        """The model's and its address, without secrets."""
        return f"{self.model.name} at {self.server.url}"

    def fingerprint(self) -> str:
        """Its address and the model's names: nothing else tells what a server's numbers come from."""
        known = json.dumps([self.server.url, self.model.name, self.model.root])
        return blake2b(known.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """See `Side`; `AT_A_TIME` answers are asked about at once.

        Raises:
            CreditError: the server does not answer, or not what it was asked.
        """
        return together(self._of_one, batch, AT_A_TIME)

    def _of_one(self, tokens: Tokens) -> Logps:
        ids = (*tokens.prompt_ids, *tokens.answer_ids)
        try:
            given = self.dialect.answers(
                self.server.ask, Question(self.model, ids, len(tokens.prompt_ids), self.tokenizer)
            )
        except Unanswered as failure:
            raise self.server.unanswered(failure) from failure
        return Logps(tuple(token.logp for token in given))


def connect(address: str, role: str, tokenizer: PreTrainedTokenizerBase, key: str | None = None) -> ServerSide:
    """A model of a server, asked whether it gives what a side needs, and whether its tokens are the tokenizer's.

    Args:
        address: of the API; what follows a # is the model's name there.
        role: "policy" or "reference".
        tokenizer: the one whose ids it is sent.
        key: see `Server`.

    Raises:
        CreditError: it cannot be reached, has no such model, gives no log-probabilities of given tokens, or others'.
    """
    server = Server(address, role, key)
    model = server.model()
    begun, ids = tokenizer.encode(_PROBE), tokenizer.encode(_PROBE + _MORE)
    cut = next((n for n, pair in enumerate(zip(begun, ids, strict=False)) if len({*pair}) > 1), len(begun))
    question, refusals = Question(model, ids, _START, tokenizer), []
    for dialect in DIALECTS:
        try:
            given = dialect.answers(server.ask_first, question)
            shifted = dialect.may_be_shifted and is_shifted(dialect, server.ask_first, question, cut)
        except Unanswered as failure:
            if failure.status in (401, 403) or failure.again:
                raise server.unanswered(failure) from failure
            refusals.append(f"asked as {dialect.name}, {failure}")
            continue
        if shifted:
            raise CreditError(
                f"{server.whose} lists each log-probability beside the wrong token, the one after it, as "
                "llama-cpp-python does where a text does not begin with BOS. Serve the model with llama.cpp's "
                "llama-server, vLLM or SGLang."
            )
        for token, theirs in zip(ids[_START:], given, strict=True):
            if not same_text(ours := str(tokenizer.decode([token])), theirs.piece):
                raise CreditError(
                    f"{server.whose} has another tokenizer: token {token} is {ours!r} here and {theirs.piece!r} "
                    f"there. Serve the model that --{role} should be, or name the one that it serves."
                )
        return ServerSide(server, model, dialect, tokenizer)
    raise CreditError(
        f"{server.whose} gives no log-probabilities of given tokens: {'; '.join(refusals)}. vLLM, SGLang and "
        "llama.cpp's llama-server do."
    )

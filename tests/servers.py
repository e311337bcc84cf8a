"""A server on this machine that answers as vLLM, SGLang, llama.cpp's, llama-cpp-python's or OpenAI's do, with a model.

What each replies was copied from its source: see `dpo_credit/models/server_replies.py`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

Reply = tuple[int, Any]
NOT_FOUND: Reply = (404, {"detail": "Not Found"})
KINDS = ("vllm", "sglang", "llama.cpp", "openai", "llama-cpp-python")


class Served(ThreadingHTTPServer):
    """A model behind an API. What it was asked is kept; `wrong` may change what it replies.

    Args:
        kind: one of `KINDS`.
        model: a causal LM.
        tokenizer: its own.
    """

    daemon_threads = True

    def __init__(self, kind: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind, self.model, self.tokenizer = kind, model, tokenizer
        self.models: list[dict[str, Any]] = [{"id": "tiny", "root": "/models/tiny", "max_model_len": 512}]
        self.key: str | None = None
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.wrong: Callable[[str, Reply], Reply] = lambda path, reply: reply
        self.pause: Callable[[], float] = lambda: 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return 200, {"object": "list", "data": self.models}
        return _ANSWERS[self.kind](self, path, body)

    def rows(self, ids: Sequence[int]) -> torch.Tensor:
        """(L, V) log-probabilities; row t is of what follows `ids[: t + 1]`."""
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].log_softmax(-1)

    def text(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))


@contextmanager
def serving(kind: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> Iterator[Served]:
    with Served(kind, model, tokenizer) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        served.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        served: Any = self.server
        path = self.path.partition("?")[0]
        with served.lock:
            served.at_once += 1
            served.most_at_once = max(served.at_once, served.most_at_once)
            served.asked.append((self.path, body, dict(self.headers)))
        time.sleep(served.pause())
        if served.key is not None and self.headers["Authorization"] != f"Bearer {served.key}":
            status, content = 401, {"error": f"Unauthorized: {self.headers['Authorization']}"}
        else:
            status, content = served.wrong(path, served.reply(path, body))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        with served.lock:
            served.at_once -= 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _vllm(served: Served, path: str, body: dict[str, Any]) -> Reply:
    if path != "/v1/completions":
        return NOT_FOUND
    ids = body["prompt"]
    if len(ids) + body["max_tokens"] > served.models[0]["max_model_len"]:
        return 400, {"error": {"message": f"This model's maximum context length is 512 tokens, not {len(ids)}."}}
    rows = served.rows(ids)
    entries: list[Any] = [None]
    for t, token in enumerate(ids[1:]):
        rank = int((rows[t] > rows[t, token]).sum()) + 1
        logprob = max(float(rows[t, token]), -9999.0)
        entries.append({str(token): {"logprob": logprob, "rank": rank, "decoded_token": served.text(token)}})
    choice = {"index": 0, "text": served.text(int(rows[-1].argmax())), "logprobs": None, "prompt_logprobs": entries}
    return 200, {"id": "1", "model": body["model"], "choices": [choice], "usage": {"prompt_tokens": len(ids)}}


def _sglang(served: Served, path: str, body: dict[str, Any]) -> Reply:
    if path == "/v1/completions":  # knows no prompt_logprobs, and leaves what it does not know
        return 200, {"choices": [{"index": 0, "text": "x", "logprobs": None}], "usage": {"prompt_tokens": 1}}
    if path != "/generate":
        return NOT_FOUND
    ids, start = body["input_ids"], body["logprob_start_len"]
    rows = served.rows(ids)
    entries = [[None, ids[start], served.text(ids[start])]]
    entries += [[float(rows[t - 1, ids[t]]), ids[t], served.text(ids[t])] for t in range(start + 1, len(ids))]
    return 200, {"text": "", "output_ids": [], "meta_info": {"id": "1", "input_token_logprobs": entries}}


def _llama_cpp(served: Served, path: str, body: dict[str, Any]) -> Reply:
    if path == "/v1/completions":
        if body.get("echo"):
            return 400, {"error": {"code": 400, "message": "Only no echo is supported", "type": "invalid_request"}}
        return 200, {"choices": [{"index": 0, "text": "x", "logprobs": None}], "usage": {"prompt_tokens": 1}}
    if path != "/completion":
        return 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}
    row = served.rows(body["prompt"])[-1]
    drawn = row.clone()
    for token, bias in body.get("logit_bias", []):
        drawn[token] += bias
    token, best = int(drawn.argmax()), int(row.argmax())
    entry = {"id": token, "token": served.text(token), "bytes": [], "logprob": float(row[token])}
    entry["top_logprobs"] = [{"id": best, "token": served.text(best), "bytes": [], "logprob": float(row[best])}]
    return 200, {"content": served.text(token), "completion_probabilities": [entry]}


def _openai(served: Served, path: str, body: dict[str, Any]) -> Reply:
    if path != "/v1/completions":
        return NOT_FOUND
    if unknown := body.keys() - {"model", "prompt", "max_tokens", "temperature", "logprobs", "echo"}:
        return 400, {"error": {"message": f"Unrecognized request argument supplied: {min(unknown)}"}}
    ids = body["prompt"] if isinstance(body["prompt"], list) else served.tokenizer.encode(body["prompt"])
    return 200, _completion(served, ids, body, ids, shift=1)


def _llama_cpp_python(served: Served, path: str, body: dict[str, Any]) -> Reply:
    """It lists no BOS, and where a text does not begin with it, each number comes a token late."""
    if path != "/v1/completions":
        return NOT_FOUND
    if not isinstance(body["prompt"], str):
        return 422, {"detail": [{"type": "string_type", "msg": "Input should be a valid string"}]}
    if "prompt_logprobs" in body:
        body["logprobs"] = None
    ids = served.tokenizer.encode(body["prompt"])
    begins = ids[0] == served.tokenizer.bos_token_id
    return 200, _completion(served, ids, body, ids[1:] if begins else ids, shift=1 if begins or not body["echo"] else 0)


def _completion(
    served: Served, ids: Sequence[int], body: dict[str, Any], listed: Sequence[int], *, shift: int
) -> dict[str, Any]:
    """OpenAI's completion of one token; number n of the list is from row n + (what is not listed) - `shift`."""
    rows = served.rows(ids)
    written = int(rows[-1].argmax())
    tokens = [*listed, written] if body["echo"] else [written]
    first = len(ids) + 1 - len(tokens) - shift  # the row of the first number
    numbered = [(token, rows[t]) for t, token in enumerate(tokens, first) if t < len(ids)]  # a row after is not there
    logprobs = {
        "tokens": [served.text(token) for token, _ in numbered],
        "token_logprobs": [float(row[token]) for token, row in numbered],
        "top_logprobs": [{served.text(int(row.argmax())): float(row.max())} for _, row in numbered],
    }
    if body["echo"]:
        logprobs["token_logprobs"][0] = logprobs["top_logprobs"][0] = None
    choice = {"index": 0, "text": "", "logprobs": logprobs if body["logprobs"] is not None else None}
    return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}


_ANSWERS: dict[str, Callable[[Served, str, dict[str, Any]], Reply]] = dict(
    zip(KINDS, (_vllm, _sglang, _llama_cpp, _openai, _llama_cpp_python), strict=True)
)

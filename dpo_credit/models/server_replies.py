"""How servers are asked for the log-probabilities of given tokens, and what each replies: a dialect each.

Sources: vLLM's `entrypoints/openai/completion/protocol.py` (`prompt_logprobs`); SGLang's `managers/io_struct.py`
(`/generate`, `logprob_start_len`); llama.cpp's `tools/server` (`/completion`, `n_probs`); OpenAI's `echo`.

Settings of sampling do not enter: they are sent as those that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dpo_credit.endpoint import Unanswered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLAIN = {"temperature": 1, "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1}
_PLAIN |= {"presence_penalty": 0, "frequency_penalty": 0}
_FORCED = 1e6  # added to a token's logit, so that it is what is drawn; what is replied is from before
_LOWEST = -9999.0  # what vLLM writes for minus infinity
_FLOAT32 = -3.4e38  # float32's lowest, which llama.cpp writes for it
_ROUNDED = 1e-3  # nats that a log-probability may lie above 0 where it was rounded


class Model(NamedTuple):
    """A model that a server has: its name there, and as far as the server says, its files, base and longest text."""

    name: str
    root: str | None = None
    parent: str | None = None
    limit: int | None = None


class Given(NamedTuple):
    """What a server gives of a token: its log-probability, nats, its text and the likeliest token's, where it says."""

    logp: float
    piece: str | None = None
    best: float | None = None


class Ask(Protocol):
    """`Server.ask`, or `Server.ask_once`."""

    def __call__(self, path: str, body: dict[str, Any] | None = None, *, outside: bool = False) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """What each of `ids[start:]` (start at least 1) is worth to a model after all that is before it."""

    model: Model
    ids: Sequence[int]
    start: int
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to ask; what it gives is in the order of the ids, or it raises `Unanswered`.

    `may_be_shifted`: its replies do not show which token a number belongs to; see `is_shifted`.
    """

    name: str
    answers: Callable[[Ask, Question], list[Given]]
    may_be_shifted: bool = False


def _vllm(ask: Ask, question: Question) -> list[Given]:
    """vLLM's: for each token of the prompt an object whose keys are ids."""
    ids, start = question.ids, question.start
    asked = {"model": question.model.name, "prompt": list(ids), "max_tokens": 1, "prompt_logprobs": 0, **_PLAIN}
    entries = _field(_choice(ask("/completions", asked)), "prompt_logprobs", list)
    if len(entries) != len(ids):
        raise _wrong(f"prompt_logprobs has {len(entries)} entries for {len(ids)} tokens")
    given = []
    for token, entry in zip(ids[start:], entries[start:], strict=True):
        own = entry.get(str(token)) if isinstance(entry, dict) else None
        if not isinstance(own, dict):
            raise _wrong(f"prompt_logprobs has no entry for token {token}")
        given.append(Given(_nats(own.get("logprob")), _text(own.get("decoded_token"))))
    return given


def _sglang(ask: Ask, question: Question) -> list[Given]:
    """SGLang's own: a list [log-probability, id, text] for each token from the one before the first on."""
    asked = {
        "input_ids": list(question.ids),
        "sampling_params": {"max_new_tokens": 0, **_PLAIN},
        **{"return_logprob": True, "logprob_start_len": question.start - 1, "return_text_in_logprobs": True},
        **({"lora_path": question.model.name} if question.model.parent else {}),
    }
    entries = _field(_field(ask("/generate", asked, outside=True), "meta_info", dict), "input_token_logprobs", list)
    wanted = question.ids[question.start :]
    rows = [entry for entry in entries[-len(wanted) :] if isinstance(entry, list) and len(entry) > 1]
    if [row[1] for row in rows] != list(wanted):
        raise _wrong("input_token_logprobs does not end with the tokens that were sent")
    return [Given(_nats(row[0]), _text(row[2]) if len(row) > 2 else None) for row in rows]


def _llama_cpp(ask: Ask, question: Question) -> list[Given]:
    """llama.cpp's own, which gives numbers of what it writes alone: it is made to write the answer, token by token.

    The model goes through each token once: the server keeps what went before.
    """
    ids, given = question.ids, []
    for place in range(question.start, len(ids)):
        asked = {
            **{"model": question.model.name, "prompt": list(ids[:place]), "cache_prompt": True},
            **{"n_predict": 1, "n_probs": 1, "temperature": 0, "logit_bias": [[ids[place], _FORCED]]},
        }
        written = _field(ask("/completion", asked, outside=True), "completion_probabilities", list)
        entry = written[0] if len(written) == 1 and isinstance(written[0], dict) else {}
        if entry.get("id") != ids[place]:
            raise _wrong(f"it wrote token {entry.get('id')} where {ids[place]} was asked for")
        given.append(Given(_nats(entry.get("logprob")), _text(entry.get("token"))))
    return given


def _echo(ask: Ask, question: Question) -> list[Given]:
    """OpenAI's, sent ids."""
    return _echoed(ask, list(question.ids), question)


def _echo_of_text(ask: Ask, question: Question) -> list[Given]:
    """OpenAI's, sent text."""
    return _echoed(ask, _as_text(question.ids, question.tokenizer), question)


DIALECTS = (
    Dialect("vLLM", _vllm),
    Dialect("SGLang", _sglang),
    Dialect("llama.cpp", _llama_cpp),
    Dialect("OpenAI", _echo, may_be_shifted=True),
    Dialect("OpenAI with text", _echo_of_text, may_be_shifted=True),
)


def is_shifted(dialect: Dialect, ask: Ask, question: Question, cut: int) -> bool:
    """Whether each number belongs to the token before the one that it stands beside.

    So it does in llama-cpp-python's, where a text does not begin with BOS. What the model would write after
    `ids[:cut]` (`start` and more) shows it: the likeliest token's number must be that of place `cut`.

    Raises:
        Unanswered: the server does not say which tokens are likeliest.
    """
    given = dialect.answers(ask, question)
    before, as_text = question.ids[:cut], dialect.answers is _echo_of_text
    prompt = _as_text(before, question.tokenizer) if as_text else list(before)
    written = _listed(ask("/completions", _completion(question.model, prompt, echo=False)))
    place = cut - question.start
    bests = [token.best for token in (written[0], given[place], given[place - 1])]
    true, here, one_before = (best if best is not None else _missing("top_logprobs") for best in bests)
    return abs(one_before - true) < abs(here - true)


def same_text(ours: str, theirs: str | None) -> bool:
    """Whether two texts may be of one token: of white space at its ends and of parts of characters little is known."""
    mine, yours = (text.replace("Ġ", " ").replace("▁", " ").strip() for text in (ours, theirs or ""))
    return not yours or mine == yours or "\ufffd" in ours


def _echoed(ask: Ask, prompt: str | list[int], question: Question) -> list[Given]:
    """The numbers of a prompt that the server repeats, where its tokens are those that were asked for.

    llama-cpp-python lists no BOS.
    """
    ids, start, tokenizer = question.ids, question.start, question.tokenizer
    reply = ask("/completions", _completion(question.model, prompt, echo=True))
    count = _field(_field(reply, "usage", dict), "prompt_tokens", int)
    if count != len(ids):
        raise _wrong(f"it makes {count} tokens of what are {len(ids)}")
    listed, pieces = _listed(reply), [str(tokenizer.decode([token])) for token in ids]
    every, without = range(len(ids)), [n for n, token in enumerate(ids) if token != tokenizer.bos_token_id]
    for places in (every, without):
        if len(listed) < len(places):
            continue
        given = dict(zip(places, listed, strict=False))
        if all(same_text(pieces[n], token.piece) for n, token in given.items()):
            lacks = next((n for n in every[start:] if n not in given or given[n].logp != given[n].logp), None)
            if lacks is not None:
                raise _wrong(f"it gives no log-probability of token {pieces[lacks]!r}")
            return [given[n] for n in every[start:]]
    raise _wrong(f"its logprobs list {len(listed)} tokens that are not the {len(ids)} that were sent")


def _completion(model: Model, prompt: str | list[int], *, echo: bool) -> dict[str, Any]:
    return {"model": model.name, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": echo}


def _listed(reply: dict[str, Any]) -> list[Given]:
    """The tokens of a completion; a first one that nothing predicts has no number (NaN)."""
    logprobs = _field(_choice(reply), "logprobs", dict)
    pieces, numbers = (_field(logprobs, name, list) for name in ("tokens", "token_logprobs"))
    tops = logprobs.get("top_logprobs") or [None] * len(numbers)
    if not len(pieces) == len(numbers) == len(tops) or not numbers:
        raise _wrong("its logprobs list tokens, numbers and likeliest tokens of different counts")
    return [
        Given(
            float("nan") if number is None else _nats(number),
            _text(piece),
            max(map(_nats, top.values())) if isinstance(top, dict) and top else None,
        )
        for piece, number, top in zip(pieces, numbers, tops, strict=True)
    ]


def _as_text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text that a server makes these tokens of; what its tokenizer writes before all is left to it.

    Raises:
        Unanswered: no text has these tokens.
    """
    bos = tokenizer.bos_token_id
    written = list(ids[1:] if ids[0] == bos and tokenizer.encode("a")[0] == bos else ids)
    text = str(tokenizer.decode(written, clean_up_tokenization_spaces=False))
    if tokenizer.encode(text, add_special_tokens=False) != written:
        raise Unanswered("it takes text alone, and no text has exactly these tokens", again=False)
    return text


def _choice(reply: dict[str, Any]) -> dict[str, Any]:
    choices = _field(reply, "choices", list)
    if not choices or not isinstance(choices[0], dict):
        raise _wrong("it has no choices")
    return choices[0]


def _field(reply: dict[str, Any], name: str, kind: type) -> Any:
    value = reply.get(name)
    return value if isinstance(value, kind) else _missing(name)


def _missing(name: str) -> Any:
    raise _wrong(f"it has no {name}")


def _wrong(fault: str) -> Unanswered:
    return Unanswered(f"its reply is not what was asked for: {fault}", again=False)


def _nats(value: Any) -> float:
    """A log-probability; what stands for minus infinity, or is no number, is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"a log-probability is {value!r}")
    if value > _ROUNDED:
        raise _wrong(f"a log-probability is {value:g}, above 0: are these logits?")
    return float("-inf") if value == _LOWEST or value <= _FLOAT32 else float(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None

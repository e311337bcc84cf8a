"""JSON and text -> rows of Examples: every accepted shape, and nothing guessed.

A prompt is a field, or ends at the last assistant turn or at "TL;DR:"; it is never the longest common prefix of two
answers, which would cut "Canberra" and "Cairns" after "Ca".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dpo_credit.credit import CreditError, Example, Message

TLDR = "TL;DR:"
_ASSISTANT = "\n\nAssistant:"
_SINGLE = ("completion", "answer", "response", "summary")
_LISTS = ("completions", "summaries")
_SHAPES = (
    "prompt with completion (or answer, response, summary), chosen and rejected, or completions; messages; "
    "or subreddit, title and post with summary or summaries"
)
_TYPES = {"dict": "object", "str": "text", "bool": "boolean", "int": "number", "float": "number", "NoneType": "null"}
Kind = Literal["single", "preference", "list"]
Prompt = str | tuple[Message, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One input row: its answers, what each is called, and the columns that pass through to the output."""

    id: str
    kind: Kind
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    columns: dict[str, Any] = field(default_factory=dict)


def labels_of(kind: Kind, count: int) -> tuple[str, ...]:
    """What the answers of a row are called."""
    if kind == "list":
        return tuple(f"answer {n}" for n in range(count))
    return ("chosen", "rejected") if kind == "preference" else ("",)


def read_row(data: bytes, name: str, *, prompt_key: str | None = None, answer_key: str | None = None) -> Row:
    """A file's bytes as one row: a JSON object, or text whose prompt ends with "TL;DR:".

    Args:
        data: UTF-8, with or without a byte-order mark.
        name: the file's name, for messages; its stem is the row's id where the row has none. A name that ends in .txt
            is text, one in .json or .jsonl is JSON; any other is JSON if it begins with a brace.
        prompt_key: the field that holds the prompt, where its name is none of the usual ones.
        answer_key: likewise the answer, or a list of answers.

    Raises:
        CreditError: the bytes are no row.
    """
    content = load(data, name)
    if isinstance(content, str):
        if prompt_key or answer_key:
            raise CreditError(f"{name} is text, so --prompt-key and --answer-key do not apply. Give JSON.")
        return _row(stem(name), "single", [_split(content)])
    return parse_row(content, stem(name), prompt_key=prompt_key, answer_key=answer_key)


def load(data: bytes, name: str) -> str | dict[str, Any]:
    """A file's bytes as a JSON object, or as text without the line break at its end; see `read_row`.

    Raises:
        CreditError: they are empty, not UTF-8, or JSON but no object.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CreditError(
            f"{name} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start}. "
            f"Convert it, for example with iconv -f latin1 -t utf-8 {name}"
        ) from error
    if not text.strip():
        raise CreditError(f"{name} is empty. Give a JSON object or a text with a prompt, {TLDR} and an answer.")
    is_json = name.endswith((".json", ".jsonl")) or (not name.endswith(".txt") and text.lstrip().startswith("{"))
    return json_object(text, name) if is_json else text.rstrip("\r\n")


def stem(name: str) -> str:
    """A file's name without its folder and suffix."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0] or base


def json_object(text: str, name: str, *, line: int | None = None) -> dict[str, Any]:
    """Text as a JSON object; `line` is its number where it is one line of many.

    Raises:
        CreditError: it is no JSON object, or holds a number that JSON cannot carry.
    """
    try:
        row = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            if line is not None:
                raise CreditError(f"{name} holds more than one JSON object. Write one a line.") from error
            raise CreditError(
                f"{name} holds more than one JSON object. Pick one, for example: head -n 1 {name} | dpo-credit score -"
            ) from error
        raise CreditError(
            f"{name} is not JSON: {error.msg} at line {line or error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise CreditError(f"{name} is nested too deeply to be a row.") from error
    except ValueError as error:  # a number that Python does not read, or that no JSON can be written with
        raise CreditError(f"{name} holds a number that cannot be kept: {error}. Write it as text.") from error
    if not isinstance(row, dict):
        raise CreditError(f"{name} holds a JSON {_type(row)}; a row is an object with {_SHAPES}.")
    return row


def _finite(digits: str) -> float:
    if abs(float(digits)) == float("inf"):
        raise ValueError(f"{digits} is out of range")
    return float(digits)


def _no_constant(name: str) -> None:
    raise CreditError(f"{name} is not JSON; write null or a number.")


def parse_row(
    row: dict[str, Any], default_id: str, *, prompt_key: str | None = None, answer_key: str | None = None
) -> Row:
    """A JSON object as a Row. Columns that are neither prompt nor answer pass through.

    Raises:
        CreditError: the object has none of the accepted shapes, or a field of a wrong type.
    """
    row_id = row.get("id", default_id)
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise CreditError(f"id is a {_type(row_id)}; it must be text or a whole number.")
    row_id = str(row_id)
    try:
        prompt, used = prompt_of(row, prompt_key)
        kind, keys = answer_keys(row, answer_key)
        values = row[keys[0]] if kind == "list" else [row[key] for key in keys]
        if not isinstance(values, list) or not values:
            raise CreditError(f"{keys[0]} is a {_type(values)}; it must be a list with at least one answer.")
        from_tldr = "post" in used or "info" in used
        names = keys if kind != "list" else [f"{keys[0]}[{n}]" for n in range(len(values))]
        pairs = [_pair(prompt, value, name, from_tldr) for value, name in zip(values, names, strict=True)]
    except CreditError as error:
        raise CreditError(f"{row_id}: {error}") from error
    if len({pair[0] for pair in pairs}) > 1:
        raise CreditError(
            f"{row_id}: its answers follow different prompts, so their rewards do not compare. Put the shared prompt "
            "into a prompt field."
        )
    consumed = {*used, *keys, "id"}
    return _row(row_id, kind, pairs, {key: value for key, value in row.items() if key not in consumed})


def _row(
    row_id: str,
    kind: Kind,
    pairs: Sequence[tuple[str | tuple[Message, ...], str]],
    columns: dict[str, Any] | None = None,
) -> Row:
    labels = {
        "single": [""],
        "preference": ["/chosen", "/rejected"],
        "list": [f"/{n}" for n in range(len(pairs))],
    }[kind]
    examples = tuple(
        Example(prompt, answer, row_id + label) for (prompt, answer), label in zip(pairs, labels, strict=True)
    )
    return Row(row_id, kind, examples, labels_of(kind, len(examples)), columns or {})


def prompt_of(row: dict[str, Any], prompt_key: str | None = None) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt, if a field gives it, and the keys it came from.

    Raises:
        CreditError: a field is missing or of a wrong type.
    """
    if prompt_key is not None and prompt_key not in row:
        raise CreditError(f"no field {prompt_key!r} (--prompt-key); the row has {_listed(row)}.")
    key = prompt_key or ("prompt" if "prompt" in row else None)
    if key is not None:
        value = row[key]
        return (value if isinstance(value, str) else messages_of(value, key)), (key,)
    info = row["info"] if isinstance(row.get("info"), dict) and "post" in row["info"] else row
    if "post" not in info:
        return None, ()
    fields = {name: info[name] for name in ("subreddit", "title", "post") if info.get(name) is not None}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise CreditError(f"{name} is a {_type(value)}; it must be text.")
    if "post" not in fields:
        raise CreditError("post is null; it must be text.")
    if "subreddit" in fields:
        fields["subreddit"] = "r/" + fields["subreddit"].removeprefix("r/")
    prompt = "".join(f"{name.upper()}: {value}\n\n" for name, value in fields.items()) + TLDR
    return prompt, (("info",) if info is not row else tuple(fields))


def answer_keys(row: dict[str, Any], answer_key: str | None = None) -> tuple[Kind, list[str]]:
    """What kind of row it is, and the fields that hold its answers.

    Raises:
        CreditError: there is none, or it is not clear which.
    """
    if answer_key is not None:
        if answer_key not in row:
            raise CreditError(f"no field {answer_key!r} (--answer-key); the row has {_listed(row)}.")
        is_list = isinstance(row[answer_key], list) and not _is_chat(row[answer_key])
        return ("list" if is_list else "single"), [answer_key]
    if "chosen" in row and "rejected" in row:
        return "preference", ["chosen", "rejected"]
    found = [key for key in (*_LISTS, *_SINGLE) if key in row]
    if not found and "messages" in row:
        if isinstance(row["messages"], str):
            raise CreditError("messages is a text; it must be a list of messages. Text belongs into prompt and answer.")
        return "single", ["messages"]
    if not found:
        one = next((key for key in ("chosen", "rejected") if key in row), None)
        if one:
            other = "rejected" if one == "chosen" else "chosen"
            raise CreditError(f"{one} without {other}. Add {other}, or score it alone with --answer-key {one}.")
        if "prompt" in row or "post" in row:
            raise CreditError(f"a prompt but no answer. Add {', '.join(_SINGLE)}, completions or chosen and rejected.")
        raise CreditError(f"no answer among its fields ({_listed(row)}). A row has {_SHAPES}; or name the fields with "
                          "--prompt-key and --answer-key.")  # fmt: skip
    if len(found) > 1:
        raise CreditError(f"several answers: {', '.join(found)}. Say which to score with --answer-key.")
    return ("list" if found[0] in _LISTS else "single"), found


def _pair(prompt: Prompt, value: Any, name: str, from_tldr: bool) -> tuple[str | tuple[Message, ...], str]:
    """The prompt and the answer that one field stands for."""
    if isinstance(value, dict) and isinstance(value.get("text"), str):  # the public comparisons: {"text": ...}
        value = value["text"]
    if isinstance(value, str):
        if prompt is None:
            return _split(value)
        if from_tldr and value and not value[0].isspace():
            value = f" {value}"  # the public TL;DR format puts a space after the colon
        return prompt, value
    messages = messages_of(value, name)
    if isinstance(prompt, str):
        if not messages or messages[0].role == "assistant":
            raise CreditError(f"prompt is text but {name} is a chat. Give the prompt as messages too.")
        prompt = None  # the chat brings the whole conversation, prompt included
    if prompt is not None and messages[: len(prompt)] != prompt:
        messages = (*prompt, *messages)
    last = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=None)
    if last is None or (prompt is not None and last < len(prompt)):
        raise CreditError(f"{name} has no assistant turn, so there is nothing to score.")
    return messages[:last], messages[last].content


def _split(text: str) -> tuple[str, str]:
    """Split at the last assistant turn of a transcript, or after the last "TL;DR:"; else there is no prompt."""
    for mark in (_ASSISTANT, TLDR):
        before, found, answer = text.rpartition(mark)
        if found:
            return before + mark, answer
    return "", text


def messages_of(value: Any, name: str) -> tuple[Message, ...]:
    """A field's chat.

    Raises:
        CreditError: it is no list of messages.
    """
    if not isinstance(value, list):
        raise CreditError(f"{name} is a {_type(value)}; it must be text or a list of messages.")
    if not value:
        raise CreditError(f"{name} is an empty list; it must hold messages.")
    return tuple(_message(message, f"{name}[{n}]") for n, message in enumerate(value))


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise CreditError(f'{name} is no message; it must be {{"role": ..., "content": ...}}.')
    role, content = value["role"], value["content"]
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)
    for key, field_value in (("role", role), ("content", content)):
        if not isinstance(field_value, str):
            raise CreditError(f"{name}.{key} is a {_type(field_value)}; it must be text.")
    unread = sorted(key for key in value.keys() - {"role", "content"} if key in ("tool_calls", "tools") and value[key])
    if unread:
        raise CreditError(f"{name} has {', '.join(unread)}, which are not scored. Render the chat to text first.")
    return Message(role, content)


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)


def _listed(row: dict[str, Any]) -> str:
    return ", ".join(map(repr, list(row)[:12])) or "no fields"


def _type(value: Any) -> str:
    """A value's type, as JSON calls it."""
    name = type(value).__name__
    return _TYPES.get(name, name)

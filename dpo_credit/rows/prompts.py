"""Where a row's prompt is: in the fields that public data sets have, or before the last turn of a transcript.

What is not certain is not guessed, and what is read under another name than `prompt` comes with a note that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.chats import Prompt, is_chat, messages_of
from dpo_credit.rows.documents import TLDR, json_type

ANSWERS = ("completion", "answer", "response", "summary", "output", "completions", "summaries", "chosen", "rejected")
CHATS = ("messages", "conversations", "conversation")  # the whole chat, unless answers have fields of their own
_QUESTIONS = ("instruction", "question", "query")
_SYSTEM = ("system", "system_prompt")
_UNREAD = ("context", "history")  # that belong to a prompt in some data sets, each in its own way
_ROLES = {  # ShareGPT's
    **{"human": "user", "user": "user", "system": "system"},
    **{"gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant", "tool": "tool", "observation": "tool"},
}
_MARKS = ("\n\nAssistant:", "\r\n\r\nAssistant:")
_TURN = re.compile(
    r"(?:\A\s*|(?<!\n)(?<!\r(?=\n))(?:\r?\n){2,}+)(?P<who>human|assistant)(?P<colon>:|(?=[ \r\n]))", re.IGNORECASE
)
_LINE_TURN = re.compile(r"(?:\A\s*|\r?\n)(?P<who>human|assistant)(?P<colon>:)", re.IGNORECASE)


class ReadPrompt(NamedTuple):
    """A row's prompt, None where no field has it; the fields it was read from, and what there is to say about that."""

    prompt: Prompt | None
    keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plain_shape(
    row: Mapping[str, Any], prompt_key: str | None = None, answer_key: str | None = None
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A row whose prompt and answers have the usual shapes, and what there is to say about those that had others.

    ShareGPT's messages ({"from": ..., "value": ...}) become {"role": ..., "content": ...}, one message alone a list of
    one, and a prompt, chosen or rejected that is a list of one text becomes that text.

    Raises:
        CreditError: a message is from somebody unknown.
    """
    shaped: dict[str, Any] = {}
    chats: list[str] = []
    listed: list[str] = []
    texts = (prompt_key, "prompt", "chosen", "rejected")
    for name in filter(None, dict.fromkeys((prompt_key, answer_key, "prompt", *CHATS, *ANSWERS))):
        value = given = row.get(name)
        if isinstance(value, dict) and (_is_sharegpt(value) or is_chat([value])):
            value = [value]
        if isinstance(value, list) and value and all(map(_is_sharegpt, value)):
            value = [_message(message, f"{name}[{n}]") for n, message in enumerate(value)]
            chats.append(name)
        elif name in texts and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            (value,) = value
            listed.append(name)
        if value is not given:
            shaped[name] = value
    notes = [f"{', '.join(chats)}: read as a chat, in which from is the role and value the content"] if chats else []
    notes += [f"{', '.join(listed)}: a list of one text is read as that text"] if listed else []
    return {**row, **shaped} if shaped else row, tuple(notes)


def _is_sharegpt(value: Any) -> bool:
    return isinstance(value, dict) and "from" in value and "value" in value and "role" not in value


def _message(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    role = _ROLES.get(value["from"]) if isinstance(value["from"], str) else None
    if role is None:
        raise CreditError(f"{name} is from {value['from']!r}, none of {', '.join(_ROLES)}. Give its role and content.")
    rest = {key: inner for key, inner in value.items() if key not in ("from", "value")}
    return {"role": role, "content": value["value"], **rest}


def prompt_of(row: Mapping[str, Any], prompt_key: str | None = None, answer_key: str | None = None) -> ReadPrompt:
    """The prompt, if a field gives it.

    Answers that are transcripts or whole chats bring their own, beside which only `prompt` and a post are read.

    Raises:
        CreditError: a field is missing or of a wrong type, or there are several that may hold it.
    """
    if prompt_key is not None and prompt_key not in row:
        raise CreditError(f"no field {prompt_key!r} (--prompt-key); the row has {field_names(row)}.")
    key = prompt_key or ("prompt" if "prompt" in row else None)
    if key is not None:
        if isinstance(row[key], str):
            return ReadPrompt(row[key], (key,), _not_read(row, key, _SYSTEM))
        return ReadPrompt(messages_of(row[key], key), (key,))
    info = row["info"] if isinstance(row.get("info"), dict) and "post" in row["info"] else row
    if "post" in info:
        return ReadPrompt(_post(info), ("info",) if info is not row else tuple(_post_fields(info)))
    answers = _texts_and_chats(row, (answer_key,) if answer_key else ANSWERS)
    scored = answers or _texts_and_chats(row, CHATS)
    whole = next(filter(_brings_its_prompt, scored), None)
    if whole is not None:
        has_system = not isinstance(whole, str) and whole[0]["role"] == "system"
        return ReadPrompt(None, (), () if has_system else _not_read(row, "what its answers begin with", _SYSTEM))
    asked = next((name for name in CHATS if answers and is_chat(row.get(name)) and _waits(row[name])), None)
    return _question(row, scored) if asked is None else _conversation(row, asked)


def _texts_and_chats(row: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    """What the fields hold, of a list each element."""
    values = [row[name] for name in names if row.get(name) is not None]
    return [item for value in values for item in ([value] if is_chat(value) or not isinstance(value, list) else value)]


def _post_fields(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: info[name] for name in ("subreddit", "title", "post") if info.get(name) is not None}


def _post(info: Mapping[str, Any]) -> str:
    fields = _post_fields(info)
    for name, value in fields.items():
        if not isinstance(value, str):
            raise CreditError(f"{name} is a {json_type(value)}; it must be text.")
    if "post" not in fields:
        raise CreditError("post is null; it must be text.")
    if "subreddit" in fields:
        fields["subreddit"] = "r/" + fields["subreddit"].removeprefix("r/")
    return "".join(f"{name.upper()}: {value}\n\n" for name, value in fields.items()) + TLDR


def _waits(chat: list[Mapping[str, Any]]) -> bool:
    return chat[-1]["role"] != "assistant"


def _conversation(row: Mapping[str, Any], key: str) -> ReadPrompt:
    """The chat that answers in fields of their own follow, with the system's text before it."""
    messages, keys = messages_of(row[key], key), [*_filled(row, _SYSTEM)[:1], key]
    if messages[0].role == "system":
        keys = [key]
    elif keys[0] != key:
        messages = (Message("system", row[keys[0]]), *messages)
    return ReadPrompt(messages, tuple(keys), (f"prompt read from {' and '.join(keys)}, as a chat",))


def _question(row: Mapping[str, Any], answers: list[Any]) -> ReadPrompt:
    """The prompt that a column of questions holds, with its input and the system's text."""
    asked = _filled(row, _QUESTIONS)
    if len(asked) > 1:
        raise CreditError(f"several prompts: {', '.join(asked)}. Say which to read with --prompt-key.")
    keys = [*_filled(row, _SYSTEM)[:1], *asked, *_filled(row, ("input",))]
    if not set(keys) - set(_SYSTEM):
        return ReadPrompt(None)
    source = " and ".join(keys)
    notes = _not_read(row, source, _UNREAD)
    if any(map(is_chat, answers)):
        system = tuple(Message("system", row[key]) for key in keys if key in _SYSTEM)
        text = "\n\n".join(row[key] for key in keys if key not in _SYSTEM)
        return ReadPrompt(
            (*system, Message("user", text)), tuple(keys), (f"prompt read from {source}, as a chat", *notes)
        )
    joined = ", with a blank line between" if len(keys) > 1 else ""
    text = "\n\n".join(row[key] for key in keys)
    return ReadPrompt(text, tuple(keys), (f"prompt read from {source}{joined}", *notes))


def _filled(row: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Those columns that hold text."""
    return [name for name in names if isinstance(row.get(name), str) and row[name].strip()]


def _not_read(row: Mapping[str, Any], prompt: str, names: tuple[str, ...]) -> tuple[str, ...]:
    unread = [name for name in names if row.get(name) and name != prompt]
    return (f"{', '.join(unread)} is not read: {prompt} is the whole prompt",) if unread else ()


def _brings_its_prompt(answer: Any) -> bool:
    if isinstance(answer, str):
        return answer_start(answer) is not None
    return is_chat(answer) and answer[0]["role"] != "assistant"


def split(text: str) -> tuple[str, str]:
    """Split at the last assistant turn of a transcript, or after the last "TL;DR:"; else there is no prompt."""
    start = answer_start(text)
    if start is not None:
        return text[:start], text[start:]
    before, marked, answer = text.rpartition(TLDR)
    return (before + marked, answer) if marked else ("", text)


def answer_start(text: str) -> int | None:
    """Where the last assistant turn of a transcript begins, behind its mark; None where text is no transcript.

    A turn begins with "Human:" or "Assistant:" behind a blank line. In lower case, or without its colon, an assistant's
    counts only as the answer to a human's. Where no blank lines stand between turns, they begin lines, and the text
    begins with a human's.
    """
    start = _last_turn(_TURN, text)
    if start is None and re.match(r"\s*human:", text, re.IGNORECASE):
        start = _last_turn(_LINE_TURN, text)
    return start


def _last_turn(mark: re.Pattern[str], text: str) -> int | None:
    start, last = None, ""
    bare = False  # whether the first turn is a human's, without a colon
    for turn in mark.finditer(text):
        if turn["who"].lower() == "human":
            if turn.start() == 0 and not turn["colon"]:  # and not the first word of "Human rights are"
                bare = text[0] in "\r\n" or text[turn.end()] in "\r\n"
            if turn["colon"] or bare:
                last = "human"
        elif last == "human" or turn[0].endswith(_MARKS):
            start, last = turn.end(), "assistant"
    return start


def field_names(row: Mapping[str, Any]) -> str:
    """The names of a row's fields, for messages."""
    return ", ".join(map(repr, list(row)[:12])) or "no fields"

"""A chat in a row's fields: its messages, checked one by one, and where its answers begin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.rows.documents import json_type

Chat = tuple[Message, ...]
Prompt = str | Chat
TEMPLATE_KEYS = ("tools", "chat_template_kwargs")  # what TRL hands to the template beside the messages
_VISION_KEYS = ("image", "images", "video", "videos", "audio", "audios")


def prompt_text(prompt: Prompt) -> str:
    """A prompt as people read it; of a chat, its turns one after the other."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.text}" for message in prompt)


def as_json(prompt: Prompt) -> str | list[dict[str, Any]]:
    """A prompt as a row holds it."""
    return prompt if isinstance(prompt, str) else [message.fields for message in prompt]


def answer_json(example: Example) -> str | list[dict[str, Any]]:
    """An answer as a row holds it: text after text, messages after messages."""
    if isinstance(example.prompt, str):
        return example.answer
    return [message.fields for message in example.turns or (Message("assistant", example.answer),)]


def messages_of(value: Any, name: str) -> Chat:
    """A field's chat.

    Raises:
        CreditError: it is no list of messages, or a part of one is no text.
    """
    if not isinstance(value, list):
        raise CreditError(f"{name} is a {json_type(value)}; it must be text or a list of messages.")
    if not value:
        raise CreditError(f"{name} is an empty list; it must hold messages.")
    return tuple(_message(message, f"{name}[{n}]") for n, message in enumerate(value))


def is_chat(value: Any) -> bool:
    """Whether a field holds messages, as far as their roles tell."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)


def template_kwargs(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row gives its chat's template besides messages, as TRL has it: `tools`, a list or its JSON, and what
    `chat_template_kwargs` holds.

    Raises:
        CreditError: one of them is of a wrong type.
    """
    given = {key: row[key] for key in TEMPLATE_KEYS if row.get(key) is not None}
    tools = given.get("tools")
    if isinstance(tools, str):
        try:
            given["tools"] = tools = json.loads(tools)
        except (ValueError, RecursionError) as error:
            raise CreditError(f"tools is text that is no JSON: {error}. Give a list of functions.") from error
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise CreditError(f"tools is a {json_type(tools)}; it must be a list of functions, each an object.")
    kwargs = given.pop("chat_template_kwargs", {})
    if not isinstance(kwargs, dict):
        raise CreditError(f"chat_template_kwargs is a {json_type(kwargs)}; it must be an object.")
    return {**given, **kwargs}


def refuse_vision(row: Mapping[str, Any]) -> None:
    """Make sure that a row's columns bring no pictures, film or sound.

    Raises:
        CreditError: they do.
    """
    for key in _VISION_KEYS:
        if row.get(key):
            raise CreditError(f"vision rows are not scored yet: its field {key} holds one or more. Give text alone.")


def shared_turns(chats: Sequence[Chat]) -> int:
    """How many turns are the prompt of chats that bring it: those they begin with in common, as TRL has it.

    One chat alone has its prompt up to the first assistant's turn. An answer has a turn at least.
    """
    if len(chats) == 1:
        return next((n for n, message in enumerate(chats[0]) if message.role == "assistant"), len(chats[0]))
    shortest = min(map(len, chats))
    differing = (n for n in range(shortest) if any(chat[n] != chats[0][n] for chat in chats))
    return next(differing, shortest - 1)


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or "role" not in value:
        raise CreditError(f'{name} is no message; it must be {{"role": ..., "content": ...}}.')
    role, content = value["role"], value.get("content")
    if not isinstance(role, str):
        raise CreditError(f"{name}.role is a {json_type(role)}; it must be text.")
    more = {key: item for key, item in value.items() if key not in ("role", "content") and item is not None}
    if isinstance(content, list):
        for part in content:
            _check_part(part, name)
    elif content is None:
        if "content" in value and not more:
            raise CreditError(f"{name}.content is null; it must be text.")
        if not more:
            raise CreditError(f'{name} is no message; it must be {{"role": ..., "content": ...}}.')
    elif not isinstance(content, str):
        raise CreditError(f"{name}.content is a {json_type(content)}; it must be text.")
    return Message(role, content, more)


def _check_part(part: Any, name: str) -> None:
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind != "text":
        a_kind = f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind.removesuffix('_url')}"
        raise CreditError(f"vision rows are not scored yet: {name} has {a_kind}. Give text alone.")
    raise CreditError(f'{name}.content holds a part that is no text; it must be {{"type": "text", "text": ...}}.')

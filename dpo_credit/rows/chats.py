"""A chat in a row's field: its messages, checked one by one."""

from __future__ import annotations

from typing import Any

from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.documents import json_type


def messages_of(value: Any, name: str) -> tuple[Message, ...]:
    """A field's chat.

    Raises:
        CreditError: it is no list of messages.
    """
    if not isinstance(value, list):
        raise CreditError(f"{name} is a {json_type(value)}; it must be text or a list of messages.")
    if not value:
        raise CreditError(f"{name} is an empty list; it must hold messages.")
    return tuple(_message(message, f"{name}[{n}]") for n, message in enumerate(value))


def is_chat(value: Any) -> bool:
    """Whether a field holds messages, as far as their roles tell."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise CreditError(f'{name} is no message; it must be {{"role": ..., "content": ...}}.')
    role, content = value["role"], value["content"]
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)
    for key, field_value in (("role", role), ("content", content)):
        if not isinstance(field_value, str):
            raise CreditError(f"{name}.{key} is a {json_type(field_value)}; it must be text.")
    unread = sorted(key for key in value.keys() - {"role", "content"} if key in ("tool_calls", "tools") and value[key])
    if unread:
        raise CreditError(f"{name} has {', '.join(unread)}, which are not scored. Render the chat to text first.")
    return Message(role, content)

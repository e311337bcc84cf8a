"""The turns of an answer that has several: where each stands in the text that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dpo_credit.credit import CreditError, Message
from dpo_credit.text.template import ChatTemplate

_NAMES = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
_THOUGHT = "</think>"  # what stands before it, templates drop or lay out anew


class Turn(NamedTuple):
    """A turn's own characters [start, end) of the text, with what closes it; what opens it stands before."""

    role: str
    start: int
    end: int


def turns_of(
    template: ChatTemplate,
    given: Mapping[str, Any],
    prompt: tuple[Message, ...],
    turns: tuple[Message, ...],
    rendered: tuple[str, int, int],
) -> tuple[Turn, ...]:
    """Where the template wrote each turn of an answer: as it renders ever more of them, or else by their texts.

    Args:
        template: what makes a chat one text.
        given: what else it is given.
        prompt: the messages before the answer.
        turns: the answer's.
        rendered: the text of all of them, where the prompt ends, and where the last turn's own characters do.

    Returns:
        One for each turn; none where they cannot be told apart.
    """
    return _by_rendering(template, given, prompt, turns, rendered[0]) or _by_content(turns, *rendered)


def transcript(prompt: tuple[Message, ...], turns: tuple[Message, ...]) -> tuple[str, int, int, tuple[Turn, ...]]:
    """A chat as a plain Human/Assistant transcript.

    Returns:
        Its text, the number of the prompt's characters, where the answer begins, and where its turns stand if it has
        several. Without an answer, the text is what one would continue.
    """
    text = "".join(_NAMES.get(message.role, "") + message.text for message in prompt)
    if not turns or turns[0].role == "assistant":
        text += _NAMES["assistant"].rstrip()
    cut = len(text)
    placed = []
    for n, turn in enumerate(turns):
        text += " " if n == 0 and turn.role == "assistant" else _NAMES.get(turn.role, "")
        start = len(text)
        text += turn.text
        placed.append(Turn(turn.role, start, len(text)))
    return text, cut, placed[0].start if placed else cut, tuple(placed) if len(placed) > 1 else ()


def _by_rendering(
    template: ChatTemplate,
    given: Mapping[str, Any],
    prompt: tuple[Message, ...],
    turns: tuple[Message, ...],
    text: str,
) -> tuple[Turn, ...]:
    """Turns between the ends of ever longer chats; none where a template renders a chat otherwise as it goes on."""
    placed = []
    before = prompt
    for n, turn in enumerate(turns):
        try:
            opened = template.render(before, given, opens=turn.role == "assistant") if before else ""
            before = (*before, turn)
            closed = text if n == len(turns) - 1 else template.render(before, given)
        except CreditError:  # a template may want a user's turn last
            return ()
        if not (text.startswith(opened) and text.startswith(closed) and len(opened) < len(closed)):
            return ()
        start = len(opened)
        if turn.role != "assistant" and turn.text.strip():  # its opening is the template's
            start = max(start, text.find(turn.text.strip(), start, len(closed)))
        placed.append(Turn(turn.role, start, len(closed)))
    return tuple(placed)


def _by_content(turns: tuple[Message, ...], text: str, cut: int, stop: int) -> tuple[Turn, ...]:
    """Turns where their own texts stand, the last ones first; none where one does not stand there."""
    closing = text[stop:].strip() or text[stop:]
    placed: list[Turn] = []
    limit = stop
    for turn in reversed(turns):
        own = turn.text.rpartition(_THOUGHT)[2].strip() if turn.role == "assistant" else turn.text.strip()
        start = text.rfind(own, cut, limit) if own else -1
        if start < 0:
            return ()
        end = start + len(own)
        if text.startswith(closing, end):
            end += len(closing)
        placed.append(Turn(turn.role, start, len(text) if not placed else end))
        limit = start
    return tuple(reversed(placed))

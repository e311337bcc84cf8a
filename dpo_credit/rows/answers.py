"""A row's answers after their prompt: given as a field, or told apart from the answers that bring it.

Text brings its prompt up to the last assistant turn of a transcript or to "TL;DR:"; it is never the longest common
prefix of two answers, which would cut "Canberra" and "Cairns" after "Ca". Chats begin with theirs in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os.path import commonprefix
from typing import Any

from dpo_credit.credit import CreditError, Example
from dpo_credit.rows.chats import Chat, Prompt, messages_of, prompt_text, shared_turns
from dpo_credit.rows.prompts import answer_start, split


def answer_value(value: Any, name: str) -> str | Chat:
    """What a field that holds an answer gives: text, or messages.

    Raises:
        CreditError: neither.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), str):  # the public comparisons: {"text": ...}
        value = value["text"]
    return value if isinstance(value, str) else messages_of(value, name)


def examples_of(
    prompt: Prompt | None, values: Mapping[str, str | Chat], *, last: bool
) -> tuple[list[Example], tuple[str, ...]]:
    """Each answer after its prompt, and what there is to say of how they were told apart.

    Chats that bring their prompt begin with it in common; with `last`, all before the last assistant's turn is prompt.
    """
    notes: tuple[str, ...] = ()
    chats = {name: value for name, value in values.items() if not isinstance(value, str)}
    if chats and isinstance(prompt, str):
        name, chat = next(iter(chats.items()))
        if chat[0].role == "assistant":
            raise CreditError(f"prompt is text but {name} is a chat. Give the prompt as messages too.")
        if all(message.text.strip() != prompt.strip() for message in chat):
            notes = (f"the field prompt is left out: {name} is a chat that brings its own, another one",)
        prompt = None
    if chats and prompt is None:
        at = shared_turns(list(chats.values()))
        if last and len(chats) == 1:
            (chat,) = chats.values()
            at = max((n for n, message in enumerate(chat) if message.role == "assistant"), default=at)
        prompt = next(iter(chats.values()))[:at]
        chats = {name: chat[at:] for name, chat in chats.items()}
        strangers = [name for name, chat in chats.items() if chat and chat[0].role != "assistant"]
        if not prompt and strangers:
            raise CreditError(
                "its answers follow different prompts, so their rewards do not compare: "
                f"{' and '.join(strangers)} have no first turn in common. Put the shared prompt into a prompt field."
            )
    elif chats and prompt and (again := [name for name, chat in chats.items() if chat[: len(prompt)] == prompt]):
        chats |= {name: chats[name][len(prompt) :] for name in again}
        notes = (f"{' and '.join(again)} repeat the prompt; it is scored once (TRL would render it twice)",)
    texts = [value for value in values.values() if isinstance(value, str)]
    if prompt is None and len(texts) == len(values) > 1 and len({split(text)[0] for text in texts}) > 1:
        shared = commonprefix(texts)  # noqa: RUF071  # of texts, character by character
        start = answer_start(shared)
        if start is not None:
            notes = ("the transcripts part before their last turns: all behind the turns that they share is scored",)
            return [Example(text[:start], text[start:]) for text in texts], notes
    made = []
    for name, value in values.items():
        if name in chats:
            assert isinstance(prompt, tuple)
            made.append(_chat_example(prompt, chats[name], name))
        elif prompt is None:
            assert isinstance(value, str)
            made.append(Example(*split(value)))
        else:
            assert isinstance(value, str)
            made.append(Example(prompt, value))
    return made, notes


def _chat_example(prompt: Chat, turns: Chat, name: str) -> Example:
    if all(message.role != "assistant" for message in turns):
        raise CreditError(f"{name} has no assistant turn, so there is nothing to score.")
    (first, *others) = turns
    if not others and not first.more and isinstance(first.content, str):
        return Example(prompt, first.content)
    return Example(prompt, prompt_text(turns) if others else first.text, turns=turns)


def after_colon(example: Example) -> Example:
    """An answer to a post: the public TL;DR format puts a space after the colon."""
    if isinstance(example.prompt, str) and example.answer and not example.answer[0].isspace():
        return replace(example, answer=f" {example.answer}")
    return example

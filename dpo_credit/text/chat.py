"""An Example as one text: where its prompt ends and its answer stands, and what a chat template writes around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo_credit.credit import CreditError, Example, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "\u2063dpo\u2063credit\u2063"  # stands for an answer, to see what a template writes around one


@dataclass(frozen=True, slots=True)
class Rendered:
    """Prompt and answer as the tokenizer gets them; `templated` if a chat template wrote the text."""

    text: str
    cut: int  # characters of the prompt
    start: int  # the answer's characters are text[start:stop]; a template may write around them
    stop: int
    templated: bool
    notes: tuple[str, ...] = ()


def render(tokenizer: PreTrainedTokenizerBase, example: Example, template: str) -> Rendered:
    """Put prompt and answer together; a chat goes through its template.

    Raises:
        CreditError: the template rejects the chat.
    """
    if isinstance(example.prompt, str):
        text, cut = example.prompt + example.answer, len(example.prompt)
        notes: tuple[str, ...] = ()
        if re.search(r"[^\s(\[]$", example.prompt) and example.answer[0].isascii() and example.answer[0].isalnum():
            joint = text[max(0, cut - 8) : cut + 8]
            notes = (f"no space between prompt and answer: they run together as {joint!r}",)
        return Rendered(text, cut, cut, len(text), templated=False, notes=notes)
    if _untemplated(tokenizer, template):
        notes = _no_template(template)
        prompt = _transcript(example.prompt)
        text = f"{prompt} {example.answer}"
        return Rendered(text, len(prompt), len(prompt) + 1, len(text), templated=False, notes=notes)

    try:
        prompt = _apply(tokenizer, template, example.prompt, open_turn=True) if example.prompt else ""
        text = _apply(tokenizer, template, (*example.prompt, Message("assistant", example.answer)))
        around = _apply(tokenizer, template, (*example.prompt, Message("assistant", _PROBE))).split(_PROBE)
    except Exception as error:  # the template is the model's own program: whatever it raises is about this chat
        raise CreditError(f"{example.id}: the chat template rejects this chat: {error}") from error
    cut = len(prompt)
    notes = ()
    if not text.startswith(prompt):
        cut = next((n for n, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(text))
        notes = ("the chat template renders the prompt differently once the answer follows; cut where the two part",)
    start, stop = cut, len(text)
    if len(around) == 2 and text.startswith(around[0]) and text.endswith(around[1]):
        start, stop = len(around[0]), len(text) - len(around[1])
    else:
        around = []
    if text[start:stop] != example.answer:
        notes += ("the chat template rewrites the answer; it is shown as rendered",)
    if not example.prompt and around:
        cut = start  # what the template writes before a chat's first turn is the prompt
    return Rendered(text, min(cut, start), start, stop, templated=True, notes=notes)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str | tuple[Message, ...], template: str) -> Rendered:
    """A prompt by itself, as the text that an answer would continue.

    Raises:
        CreditError: the template rejects the chat.
    """
    notes: tuple[str, ...] = ()
    templated = False
    if isinstance(prompt, str):
        text = prompt
    elif _untemplated(tokenizer, template):
        text, notes = _transcript(prompt), _no_template(template)
    else:
        templated = True
        try:
            text = _apply(tokenizer, template, prompt, open_turn=True) if prompt else ""
        except Exception as error:  # see `render`
            raise CreditError(f"the chat template rejects this chat: {error}") from error
    return Rendered(text, len(text), len(text), len(text), templated, notes)


def _apply(
    tokenizer: PreTrainedTokenizerBase, template: str, turns: tuple[Message, ...], *, open_turn: bool = False
) -> str:
    rendered = tokenizer.apply_chat_template(
        [turn._asdict() for turn in turns],
        chat_template=None if template == "auto" else template,
        tokenize=False,
        add_generation_prompt=open_turn,
    )
    assert isinstance(rendered, str)
    return rendered


def _untemplated(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    return template == "none" or (template == "auto" and not tokenizer.chat_template)


def _no_template(template: str) -> tuple[str, ...]:
    if template == "none":
        return ()
    return (
        "the tokenizer has no chat template: the chat is scored as a plain Human/Assistant transcript "
        "(--chat-template FILE sets a template)",
    )


def _transcript(messages: tuple[Message, ...]) -> str:
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
    turns = (names.get(message.role, "") + message.content for message in messages)
    return "".join(turns) + "\n\nAssistant:"

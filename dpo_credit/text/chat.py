"""An Example as one text: where its prompt ends and its answer stands, and what a chat template writes around them.

Boundaries are found in the text of the messages themselves: a template may write another text around a stand-in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.text.template import ChatTemplate
from dpo_credit.text.turns import Turn, transcript, turns_of

Turns = Literal["all", "assistant", "last"]
_NO_FIELDS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Rendered:
    """Prompt and answer as the tokenizer gets them; `templated` if a chat template wrote the text.

    `cut` is the number of the prompt's characters; the answer's are text[start:stop], and a template may write around
    them. `turns` tell the turns of an answer apart that has several. `date` is the day that the template wrote, or "".
    """

    text: str
    cut: int
    start: int
    stop: int
    templated: bool
    notes: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    date: str = ""


def render(template: ChatTemplate, example: Example, scored: Turns = "all") -> Rendered:
    """Put prompt and answer together; a chat goes through its template.

    Args:
        template: what makes a chat one text.
        example: an answer after its prompt.
        scored: which turns of an answer count; "last" makes all before the last assistant's turn the prompt.

    Raises:
        CreditError: the template rejects the chat, or its turns cannot be told apart where they must be.
    """
    if isinstance(example.prompt, str):
        text, cut = example.prompt + example.answer, len(example.prompt)
        notes: tuple[str, ...] = ()
        if re.search(r"[^\s(\[]$", example.prompt) and example.answer[0].isascii() and example.answer[0].isalnum():
            joint = text[max(0, cut - 8) : cut + 8]
            notes = (f"no space between prompt and answer: they run together as {joint!r}",)
        return Rendered(text, cut, cut, len(text), templated=False, notes=notes)
    prompt, turns, notes = _scored_turns(example, scored)
    if template.is_plain:
        text, cut, start, placed = transcript(prompt, turns)
        notes += _no_template(template, (*prompt, *turns), example)
        rendered = Rendered(text, cut, start, len(text), templated=False, turns=placed)
    else:
        rendered = _templated(template, example, prompt, turns)
    if scored == "assistant" and len(turns) > 1 and not rendered.turns:
        raise CreditError(
            f"{example.id}: the chat template writes its turns so that they cannot be told apart. Count all of them "
            "with --turns all, or the last alone with --turns last."
        )
    return replace(rendered, notes=notes + rendered.notes)


def render_prompt(
    template: ChatTemplate, prompt: str | tuple[Message, ...], given: Mapping[str, Any] | None = None
) -> Rendered:
    """A prompt by itself, as the text that an answer would continue.

    Args:
        template: what makes a chat one text.
        prompt: text, or messages.
        given: what else the template is given, such as `tools`.

    Raises:
        CreditError: the template rejects the chat.
    """
    notes: tuple[str, ...] = ()
    templated = False
    if isinstance(prompt, str):
        text = prompt
    elif template.is_plain:
        text, *_ = transcript(prompt, ())
        notes = _no_template(template, prompt, None)
    else:
        templated = True
        text = template.render(prompt, given or {}, opens=True) if prompt else ""
    return Rendered(text, len(text), len(text), len(text), templated, notes)


def _scored_turns(example: Example, scored: Turns) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[str, ...]]:
    """The messages before the answer, the answer's own, and what is said of those that are left out."""
    assert not isinstance(example.prompt, str)
    turns = example.turns or (Message("assistant", example.answer),)
    if scored != "last":
        return example.prompt, turns, ()
    last = example.last_turn
    after = len(turns) - last - 1
    notes = (f"{after} turns after the last assistant's are left out (--turns last)",) if after else ()
    return (*example.prompt, *turns[:last]), (turns[last],), notes


def _templated(
    template: ChatTemplate, example: Example, prompt: tuple[Message, ...], turns: tuple[Message, ...]
) -> Rendered:
    given = example.template_kwargs
    try:
        before = template.render(prompt, given, opens=True) if prompt else ""
        text = template.render((*prompt, *turns), given)
        date = template.written_date((*prompt, *turns), given)
        stop = _closing(template, example, (*prompt, *turns), text)
    except CreditError as error:
        raise CreditError(f"{example.id}: {error}") from error
    notes: tuple[str, ...] = ()
    cut = len(before)
    if not text.startswith(before):
        cut = next((n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(text))
        notes = ("the chat template renders the prompt differently once the answer follows; cut where the two part",)
    placed = turns_of(template, given, prompt, turns, (text, cut, stop)) if len(turns) > 1 else ()
    start, own = min(cut, stop), turns[0].text
    if len(turns) == 1 and text[max(cut, stop - len(own)) : stop] == own:
        start = stop - len(own)
    elif len(turns) == 1:
        notes += ("the chat template rewrites the answer; it is shown as rendered",)
    elif placed:
        start = max(cut, placed[0].start)
    if not prompt:
        cut = start  # what the template writes before a chat's first turn is the prompt
    if any(isinstance(turn.content, list) and repr(turn.content) in text for turn in (*prompt, *turns)):
        notes += ("the chat template writes a message's parts as Python shows a list: give its content as text",)
    if date:
        notes += (f"the chat template writes the date {date} (--date sets another)",)
    return Rendered(text, min(cut, start), start, stop, templated=True, notes=notes, turns=placed, date=date)


def _closing(template: ChatTemplate, example: Example, messages: tuple[Message, ...], text: str) -> int:
    """Where the template closes the last turn: behind all of its own text.

    What it writes behind a content is seen where it leaves one open. A content that it lays out anew, or none, cannot
    be left open; what it writes behind another is taken then, where the text ends so.
    """
    for content in (messages[-1].content, "."):
        last = replace(messages[-1], content=content, more=_NO_FIELDS)
        if not isinstance(content, str) or not content.strip():
            continue
        try:
            unclosed = template.render((*messages[:-1], last), example.template_kwargs, continue_final_message=True)
            closed = template.render((*messages[:-1], last), example.template_kwargs)
        except CreditError:
            continue
        closing = closed.removeprefix(unclosed)
        if closed.startswith(unclosed) and text.endswith(closing):
            return len(text) - len(closing)
    return _before_special(text, template.tokenizer.all_special_tokens)


def _before_special(text: str, special: Sequence[str]) -> int:
    """How much of a text stands before the special tokens at its end, and the white space between and behind them."""
    stop = len(text)
    while ending := next((token for token in special if token and text[:stop].rstrip().endswith(token)), ""):
        stop = len(text[:stop].rstrip()) - len(ending)
    return stop


def _no_template(template: ChatTemplate, messages: tuple[Message, ...], example: Example | None) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if template.source != "none":
        notes = (
            "the tokenizer has no chat template: the chat is scored as a plain Human/Assistant transcript "
            "(--chat-template FILE sets a template)",
        )
    given = example.template_kwargs if example else ()
    left_out = sorted({*given, *(name for message in messages for name in message.more)})
    if left_out:
        notes += (f"a plain transcript has no place for {', '.join(left_out)}: left out",)
    return notes

"""How text becomes tokens: everything that decides which ids are scored, besides the row."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import CreditError
from dpo_credit.text.chat import Turns
from dpo_credit.text.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Conventions:
    """How text becomes tokens. Rewards compare with a trainer's only under the conventions it trained with.

    `eos`: "auto" ends plain text with the tokenizer's EOS and a chat with what its template closes a turn with (as TRL
    and the original DPO code do); "always" and "never" force it.
    `chat_template`: "auto" (the tokenizer's own), "none" (a plain Human/Assistant transcript) or a Jinja template.
    `max_length`: the most tokens prompt and answer may have together; None is no limit.
    `truncate`: "error", or "prompt-start" to cut what is over from the prompt's start.
    `turns`: which turns of a chat's answer count: "all", as TRL has it, those of the "assistant" alone (the others are
    there to be read), or the "last" of these, whose prompt is then all before it.
    `date`: the day that a template is told which asks for one, as ISO 8601; where it is "", `today`, and a template
    keeps the `date_string` of its own.
    """

    eos: Literal["auto", "always", "never"] = "auto"
    chat_template: str = "auto"
    max_length: int | None = None
    truncate: Literal["error", "prompt-start"] = "error"
    turns: Turns = "all"
    date: str = ""
    today: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def template(self, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        """What makes a chat one text.

        Raises:
            CreditError: a date is none.
        """
        date, today = (_date(day) if day else None for day in (self.date, self.today))
        return ChatTemplate(tokenizer, self.chat_template, date, today or datetime.date.today())


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise CreditError(f"--date {text} is no date; write it as 2024-07-26.") from error

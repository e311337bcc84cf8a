"""A chat template applied to messages as their row has them, with what else the row gives it, and on one date.

As TRL applies it: every field of a message, `tools` and `chat_template_kwargs` reach the template untouched.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo_credit.credit import CreditError, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DIRECTIVES = tuple(  # of strftime
    f"%{letter}" for letter in ("-d", "-m", "e", *"aAwdbBmyYHIpMSfjUWGuVcxXDFTR")
)
_UNLIKE = datetime.timedelta(days=404)  # no part of a date is the same so many days later, its weekday neither
_NO_FIELDS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What makes a chat one text.

    `source` is "auto" (the tokenizer's own template), "none" (a plain Human/Assistant transcript) or a Jinja template.
    `date` is the day that a template is told which asks for one: `strftime_now` tells it, and `date_string` is it.
    Where it is None, `today` stands for it in `strftime_now`, and a template keeps its own `date_string`.
    """

    tokenizer: PreTrainedTokenizerBase
    source: str = "auto"
    date: datetime.date | None = None
    today: datetime.date = field(default_factory=datetime.date.today)

    @property
    def is_plain(self) -> bool:
        """Whether a chat is scored as a transcript, for want of a template or because that was asked for."""
        return self.source == "none" or (self.source == "auto" and not self.tokenizer.chat_template)

    def asks_for_date(self, tools: list[Any] | None = None) -> bool:
        """Whether the template may write a date that is not its own."""
        if self.is_plain:
            return False
        text = self._text(tools)
        return "strftime_now" in text or (self.date is not None and "date_string" in text)

    def render(
        self, messages: Sequence[Message], given: Mapping[str, Any] = _NO_FIELDS, *, opens: bool = False, **how: Any
    ) -> str:
        """The messages as text; with `opens`, up to where an assistant's next turn begins.

        Args:
            messages: at least one.
            given: `tools`, and what else the template is given.
            opens: add the generation prompt.
            how: further arguments of `apply_chat_template`.

        Raises:
            CreditError: the template rejects them.
        """
        return self._render(messages, given, self.date or self.today, opens=opens, **how)

    def written_date(self, messages: Sequence[Message], given: Mapping[str, Any] = _NO_FIELDS) -> str:
        """The date that the template writes into these messages' text, as ISO 8601; "" if it writes none."""
        if not self.asks_for_date(given.get("tools")):
            return ""
        day = self.date or self.today
        texts = {self._render(messages, given, some_day) for some_day in (day, day + _UNLIKE)}
        return day.isoformat() if len(texts) > 1 else ""

    def _render(
        self,
        messages: Sequence[Message],
        given: Mapping[str, Any],
        day: datetime.date,
        *,
        opens: bool = False,
        **how: Any,
    ) -> str:
        from dpo_credit.text.bounded import TemplateLimit, bounded

        try:
            text = given.get("chat_template") if self.source == "auto" else None
            text = self._text(given.get("tools")) if text is None else text
            kwargs = {name: value for name, value in given.items() if name != "chat_template"}
            if "strftime_now" in text:
                text = _told(day) + text
            if self.date is not None and "date_string" in text:
                kwargs = {"date_string": day.strftime("%d %b %Y"), **kwargs}
            with bounded():
                rendered = self.tokenizer.apply_chat_template(
                    [message.fields for message in messages],
                    chat_template=text,
                    tokenize=False,
                    add_generation_prompt=opens,
                    **kwargs,
                    **how,
                )
        except TemplateLimit as error:
            whose = (
                f"of {self.tokenizer.name_or_path or 'the tokenizer'}" if self.source == "auto" else "that was given"
            )
            raise CreditError(
                f"the chat template {whose} {error}: it is broken or hostile. Give another with --chat-template FILE, "
                "or none to score a transcript."
            ) from error
        except Exception as error:  # the template is the model's own program: whatever it raises is about this chat
            raise CreditError(f"the chat template rejects this chat: {error}") from error
        return str(rendered)

    def _text(self, tools: list[Any] | None) -> str:
        return self.tokenizer.get_chat_template(None if self.source == "auto" else self.source, tools)


def _told(day: datetime.date) -> str:
    """A macro in front of a template that answers `strftime_now` with a day, at midnight."""
    midnight = datetime.datetime.combine(day, datetime.time())
    values = [(directive, midnight.strftime(directive)) for directive in _DIRECTIVES]
    return (
        "{% macro strftime_now(format) %}{% for part in format.split('%%') %}{% set told = namespace(text=part) %}"
        f"{{% for directive, value in {values!r} %}}"
        "{% set told.text = told.text.replace(directive, value) %}{% endfor %}"
        "{{ '' if loop.first else '%' }}{{ told.text }}{% endfor %}{% endmacro %}{{ '' }}"
    )

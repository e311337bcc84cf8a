"""JSON and text -> rows of Examples: every accepted shape, and nothing guessed.

A prompt is a field, or ends at the last assistant turn or at "TL;DR:"; it is never the longest common prefix of two
answers, which would cut "Canberra" and "Cairns" after "Ca".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.rows.chats import is_chat, messages_of
from dpo_credit.rows.documents import SHAPES, TLDR, json_type

_ASSISTANT = "\n\nAssistant:"
_SINGLE = ("completion", "answer", "response", "summary")
_LISTS = ("completions", "summaries")
_NO_PROMPT = "no prompt to answer. Give a prompt field (text or messages), messages, or a post."
Kind = Literal["single", "preference", "list", "prompt"]
Answers = Literal["required", "optional"]
Prompt = str | tuple[Message, ...]
_Pair = tuple[Prompt, str]  # a prompt and an answer to it


@dataclass(frozen=True, slots=True)
class Row:
    """One input row: its answers, what each is called, and the columns that pass through to the output.

    A row of kind "prompt" has no answers. `fields` are the user's own, as JSON gave them, and none for text;
    `prompt_keys` and `answer_keys` name those that the prompt and the answers were read from. `source` and `line` say
    where the row stood: a line of a file, or with `numbered` a row of its table or array, from 1 on.
    """

    id: str
    kind: Kind
    examples: tuple[Example, ...] = ()
    labels: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    prompt: Prompt = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    prompt_keys: tuple[str, ...] = ()
    answer_keys: tuple[str, ...] = ()
    source: str = ""
    line: int = 0
    numbered: bool = False

    @property
    def implicit_prompt(self) -> bool:
        """Whether no field named the prompt, so that another program looks for one itself."""
        return not self.prompt_keys

    @property
    def is_chat(self) -> bool:
        """Whether the prompt is messages, not text."""
        return not isinstance(self.prompt, str)

    @property
    def place(self) -> str:
        """Where the row stood, for messages."""
        return place(self.source, self.line, numbered=self.numbered)


def place(source: str, line: int, *, numbered: bool) -> str:
    """Where a record stands, for messages."""
    return f"{source}, {'row' if numbered else 'line'} {line}"


def prompt_text(prompt: Prompt) -> str:
    """A prompt as people read it; of a chat, its turns one after the other."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)


def labels_of(kind: Kind, count: int) -> tuple[str, ...]:
    """What the answers of a row are called."""
    if kind == "list":
        return tuple(f"answer {n}" for n in range(count))
    return ("chosen", "rejected") if kind == "preference" else ("",)


def stem(name: str) -> str:
    """A file's name without its folder and suffix."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0] or base


def text_row(text: str, row_id: str, *, answers: Answers = "required") -> Row:
    """Text as a Row: its prompt ends at the last assistant turn of a transcript, or at "TL;DR:".

    Where answers are optional, text without such a mark is a prompt as a whole.
    """
    prompt, answer = _split(text)
    if answers == "optional" and not (prompt and answer.strip()):
        return Row(row_id, "prompt", prompt=prompt or text)
    return _row(row_id, "single", [(prompt, answer)])


def parse_row(
    fields: Mapping[str, Any],
    default_id: str,
    *,
    prompt_key: str | None = None,
    answer_key: str | None = None,
    answers: Answers = "required",
) -> Row:
    """A JSON object as a Row. Columns that are neither prompt nor answer pass through.

    Args:
        fields: the object.
        default_id: its id where it brings none.
        prompt_key: the field that holds the prompt, where its name is none of the usual ones.
        answer_key: likewise the answer, or a list of answers.
        answers: "optional" takes a prompt without them; messages that end in another turn than the assistant's are one.

    Raises:
        CreditError: the object has none of the accepted shapes, or a field of a wrong type.
    """
    row_id = fields.get("id", default_id)
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise CreditError(f"id is a {json_type(row_id)}; it must be text or a whole number.")
    row_id = str(row_id)
    try:
        prompt, prompt_keys = prompt_of(fields, prompt_key)
        if answers == "optional" and prompt is None and (waiting := _waiting(fields)) is not None:
            return Row(row_id, "prompt", prompt=waiting, fields=fields, prompt_keys=("messages",))
        try:
            kind, keys, pairs = _pairs(fields, prompt, prompt_keys, answer_key)
        except CreditError as error:
            if answers == "required":
                raise
            if prompt is None:
                raise CreditError(_NO_PROMPT) from error
            return Row(row_id, "prompt", prompt=prompt, fields=fields, prompt_keys=prompt_keys)
        if len({before for before, _ in pairs}) > 1:
            raise CreditError(
                "its answers follow different prompts, so their rewards do not compare. Put the shared prompt into a "
                "prompt field."
            )
        if answers == "optional" and not prompt_keys and not pairs[0][0]:
            raise CreditError(_NO_PROMPT)
    except CreditError as error:
        raise CreditError(f"{row_id}: {error}") from error
    consumed = {*prompt_keys, *keys, "id"}
    columns = {key: value for key, value in fields.items() if key not in consumed}
    row = _row(row_id, kind, pairs)
    return replace(row, columns=columns, fields=fields, prompt_keys=prompt_keys, answer_keys=tuple(keys))


def _row(row_id: str, kind: Kind, pairs: Sequence[_Pair]) -> Row:
    ends = {"single": [""], "preference": ["/chosen", "/rejected"]}.get(kind, [f"/{n}" for n in range(len(pairs))])
    examples = tuple(Example(prompt, answer, row_id + end) for (prompt, answer), end in zip(pairs, ends, strict=True))
    return Row(row_id, kind, examples, labels_of(kind, len(examples)), prompt=examples[0].prompt)


def _waiting(fields: Mapping[str, Any]) -> tuple[Message, ...] | None:
    """A chat that waits for its answer."""
    if "messages" not in fields or any(key in fields for key in (*_LISTS, *_SINGLE, "chosen")):
        return None
    messages = messages_of(fields["messages"], "messages")
    return None if messages[-1].role == "assistant" else messages


def _pairs(
    fields: Mapping[str, Any], prompt: Prompt | None, prompt_keys: tuple[str, ...], answer_key: str | None
) -> tuple[Kind, list[str], list[_Pair]]:
    """What kind of row it is, the fields that hold its answers, and each answer with its prompt."""
    kind, keys = answer_keys(fields, answer_key)
    values = fields[keys[0]] if kind == "list" else [fields[key] for key in keys]
    if not isinstance(values, list) or not values:
        raise CreditError(f"{keys[0]} is a {json_type(values)}; it must be a list with at least one answer.")
    from_tldr = "post" in prompt_keys or "info" in prompt_keys
    names = keys if kind != "list" else [f"{keys[0]}[{n}]" for n in range(len(values))]
    return kind, keys, [_pair(prompt, value, name, from_tldr) for value, name in zip(values, names, strict=True)]


def prompt_of(row: Mapping[str, Any], prompt_key: str | None = None) -> tuple[Prompt | None, tuple[str, ...]]:
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
            raise CreditError(f"{name} is a {json_type(value)}; it must be text.")
    if "post" not in fields:
        raise CreditError("post is null; it must be text.")
    if "subreddit" in fields:
        fields["subreddit"] = "r/" + fields["subreddit"].removeprefix("r/")
    prompt = "".join(f"{name.upper()}: {value}\n\n" for name, value in fields.items()) + TLDR
    return prompt, (("info",) if info is not row else tuple(fields))


def answer_keys(row: Mapping[str, Any], answer_key: str | None = None) -> tuple[Kind, list[str]]:
    """What kind of row it is, and the fields that hold its answers.

    Raises:
        CreditError: there is none, or it is not clear which.
    """
    if answer_key is not None:
        if answer_key not in row:
            raise CreditError(f"no field {answer_key!r} (--answer-key); the row has {_listed(row)}.")
        is_list = isinstance(row[answer_key], list) and not is_chat(row[answer_key])
        return ("list" if is_list else "single"), [answer_key]
    if "chosen" in row and "rejected" in row:
        return "preference", ["chosen", "rejected"]
    keys = [key for key in (*_LISTS, *_SINGLE) if key in row]
    if not keys and "messages" in row:
        if isinstance(row["messages"], str):
            raise CreditError("messages is a text; it must be a list of messages. Text belongs into prompt and answer.")
        return "single", ["messages"]
    if not keys:
        alone = next((key for key in ("chosen", "rejected") if key in row), None)
        if alone:
            other = "rejected" if alone == "chosen" else "chosen"
            raise CreditError(f"{alone} without {other}. Add {other}, or score it alone with --answer-key {alone}.")
        if "prompt" in row or "post" in row:
            raise CreditError(f"a prompt but no answer. Add {', '.join(_SINGLE)}, completions or chosen and rejected.")
        raise CreditError(f"no answer among its fields ({_listed(row)}). A row has {SHAPES}; or name the fields with "
                          "--prompt-key and --answer-key.")  # fmt: skip
    if len(keys) > 1:
        raise CreditError(f"several answers: {', '.join(keys)}. Say which to score with --answer-key.")
    return ("list" if keys[0] in _LISTS else "single"), keys


def _pair(prompt: Prompt | None, value: Any, name: str, from_tldr: bool) -> _Pair:
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
        before, marked, answer = text.rpartition(mark)
        if marked:
            return before + mark, answer
    return "", text


def _listed(row: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, list(row)[:12])) or "no fields"

"""JSON and text -> rows of Examples: every accepted shape, and nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.rows.answers import after_colon, answer_value, examples_of
from dpo_credit.rows.chats import Chat, Prompt, is_chat, messages_of, refuse_vision, template_kwargs
from dpo_credit.rows.documents import SHAPES, json_type
from dpo_credit.rows.prompts import CHATS, field_names, plain_shape, prompt_of, split

_SINGLE = ("completion", "answer", "response", "summary")
_LISTS = ("completions", "summaries")
_NO_PROMPT = "no prompt to answer. Give a prompt field (text or messages), messages, or a post."
Kind = Literal["single", "preference", "list", "prompt"]
Answers = Literal["required", "optional"]


@dataclass(frozen=True, slots=True)
class Row:
    """One input row: its answers, what each is called, and the columns that pass through to the output.

    A row of kind "prompt" has no answers. `fields` are the user's own, as JSON gave them, and none for text;
    `prompt_keys` and `answer_keys` name those that the prompt and the answers were read from. `source` and `line` say
    where the row stood: a line of a file, or with `numbered` a row of its table or array, from 1 on; `notes`, what of
    it is not scored as it stands. `prompt_key` and `answer_key` are fields that somebody named; `template_kwargs`, what
    it gives its chat's template besides.
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
    notes: tuple[str, ...] = ()
    prompt_key: str | None = None
    answer_key: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

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
    prompt, answer = split(text)
    notes = line_notes(text)
    if answers == "optional" and not (prompt and answer.strip()):
        return Row(row_id, "prompt", prompt=prompt or text, notes=notes)
    return replace(_row(row_id, "single", [Example(prompt, answer)]), notes=notes)


def line_notes(text: str) -> tuple[str, ...]:
    """What there is to say about the ends of a text's lines."""
    return ("the text's lines end in CRLF, and are scored as they stand",) if "\r\n" in text else ()


def id_of(fields: Mapping[str, Any], default_id: str) -> str:
    """A row's id: text, or a number; 3.0 is "3". Without one, or with null, the default.

    Raises:
        CreditError: it is something else.
    """
    given = fields.get("id")
    if given is None:
        return default_id
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise CreditError(f"id is a {json_type(given)}; it must be text or a number.")
    return str(int(given) if isinstance(given, float) and given.is_integer() else given)


def parse_row(
    fields: Mapping[str, Any],
    default_id: str,
    *,
    prompt_key: str | None = None,
    answer_key: str | None = None,
    answers: Answers = "required",
) -> Row:
    """A JSON object as a Row. Columns that are neither prompt nor answer pass through; its `credit` of old does not.

    Args:
        fields: the object.
        default_id: its id where it brings none.
        prompt_key: the field that holds the prompt, where its name is none of the usual ones.
        answer_key: likewise the answer, or a list of answers.
        answers: "optional" takes a prompt without them; messages that end in another turn than the assistant's are one.

    Raises:
        CreditError: the object has none of the accepted shapes, or a field of a wrong type.
    """
    fields = without_credit(fields)
    row_id = id_of(fields, default_id)
    try:
        refuse_vision(fields)
        given, shape_notes = plain_shape(fields, prompt_key, answer_key)
        prompt, prompt_keys, prompt_notes = prompt_of(given, prompt_key, answer_key)
        notes = (*shape_notes, *prompt_notes)
        kwargs = template_kwargs(given)
        waits = partial(Row, row_id, "prompt", fields=fields, template_kwargs=kwargs, notes=notes)
        if answers == "optional" and prompt is None and (waiting := _waiting(given)) is not None:
            key, messages = waiting
            return waits(prompt=messages, prompt_keys=(key,))
        try:
            kind, keys, values = _values(given, answer_key)
            examples, answer_notes = examples_of(prompt, values, last=answers == "optional")
        except CreditError as error:
            if answers == "required":
                raise
            if prompt is None:
                raise CreditError(_NO_PROMPT) from error
            return waits(prompt=prompt, prompt_keys=prompt_keys)
        notes += answer_notes
        if "post" in prompt_keys or "info" in prompt_keys:
            examples = [after_colon(example) for example in examples]
        if len({example.prompt for example in examples}) > 1:
            raise CreditError(
                "its answers follow different prompts, so their rewards do not compare. Put the shared prompt into a "
                "prompt field."
            )
        if answers == "optional" and not prompt_keys and not examples[0].prompt:
            raise CreditError(_NO_PROMPT)
        if isinstance(examples[0].prompt, str) and kwargs:
            kwargs = {}
            notes += ("tools and chat_template_kwargs are a chat's: text has no template that would read them",)
        examples = [replace(example, template_kwargs=kwargs) for example in examples]
    except CreditError as error:
        raise CreditError(f"{row_id}: {error}") from error
    consumed = {*prompt_keys, *keys, "id"}
    columns = {key: value for key, value in fields.items() if key not in consumed}
    row = replace(_row(row_id, kind, examples), columns=columns, fields=fields, notes=notes, template_kwargs=kwargs)
    return replace(row, prompt_keys=prompt_keys, answer_keys=tuple(keys), prompt_key=prompt_key, answer_key=answer_key)


def without_credit(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row without what an earlier scoring put beside its own fields."""
    credit = fields.get("credit")
    scored = isinstance(credit, dict) and str(credit.get("schema")).startswith("dpo-credit/credit@")
    return {key: value for key, value in fields.items() if key != "credit"} if scored else fields


def _row(row_id: str, kind: Kind, answers: Sequence[Example]) -> Row:
    ends = {"single": [""], "preference": ["/chosen", "/rejected"]}.get(kind, [f"/{n}" for n in range(len(answers))])
    examples = tuple(replace(example, id=row_id + end) for example, end in zip(answers, ends, strict=True))
    return Row(row_id, kind, examples, labels_of(kind, len(examples)), prompt=examples[0].prompt)


def _waiting(fields: Mapping[str, Any]) -> tuple[str, tuple[Message, ...]] | None:
    """A chat that waits for its answer, and its field."""
    name = next((name for name in CHATS if name in fields), None)
    if name is None or any(key in fields for key in (*_LISTS, *_SINGLE, "chosen")):
        return None
    messages = messages_of(fields[name], name)
    return None if messages[-1].role == "assistant" else (name, messages)


def _values(fields: Mapping[str, Any], answer_key: str | None) -> tuple[Kind, list[str], dict[str, str | Chat]]:
    """What kind of row it is, the fields that hold its answers, and each answer under its name: text, or messages."""
    kind, keys = answer_keys(fields, answer_key)
    values = fields[keys[0]] if kind == "list" else [fields[key] for key in keys]
    if not isinstance(values, list) or not values:
        raise CreditError(f"{keys[0]} is a {json_type(values)}; it must be a list with at least one answer.")
    names = keys if kind != "list" else [f"{keys[0]}[{n}]" for n in range(len(values))]
    return kind, keys, {name: answer_value(value, name) for name, value in zip(names, values, strict=True)}


def answer_keys(row: Mapping[str, Any], answer_key: str | None = None) -> tuple[Kind, list[str]]:
    """What kind of row it is, and the fields that hold its answers.

    Raises:
        CreditError: there is none, or it is not clear which.
    """
    if answer_key is not None:
        if answer_key not in row:
            raise CreditError(f"no field {answer_key!r} (--answer-key); the row has {field_names(row)}.")
        is_list = isinstance(row[answer_key], list) and not is_chat(row[answer_key])
        return ("list" if is_list else "single"), [answer_key]
    if "chosen" in row and "rejected" in row:
        return "preference", ["chosen", "rejected"]
    keys = [key for key in (*_LISTS, *_SINGLE) if key in row]
    if not keys and "output" in row:  # beside an answer of another name, it may be anything
        keys = ["output"]
    chat = next((name for name in CHATS if name in row), None)
    if not keys and chat is not None:
        if isinstance(row[chat], str):
            raise CreditError(f"{chat} is a text; it must be a list of messages. Text belongs into prompt and answer.")
        return "single", [chat]
    if not keys:
        alone = next((key for key in ("chosen", "rejected") if key in row), None)
        if alone:
            other = "rejected" if alone == "chosen" else "chosen"
            raise CreditError(f"{alone} without {other}. Add {other}, or score it alone with --answer-key {alone}.")
        if "prompt" in row or "post" in row:
            raise CreditError(f"a prompt but no answer. Add {', '.join(_SINGLE)}, completions or chosen and rejected.")
        raise CreditError(
            f"no answer among its fields ({field_names(row)}). A row has {SHAPES}; or name the fields with "
            "--prompt-key and --answer-key."
        )
    if len(keys) > 1:
        raise CreditError(f"several answers: {', '.join(keys)}. Say which to score with --answer-key.")
    return ("list" if keys[0] in _LISTS else "single"), keys

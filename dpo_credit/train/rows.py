"""A recipe's rows: read as `score` reads them, encoded as it encodes them, and written as TRL takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from dpo_credit.credit import CreditError, Example, Tokens
from dpo_credit.rows.chats import answer_json, as_json
from dpo_credit.rows.reader import read_records, read_rows
from dpo_credit.rows.records import Row
from dpo_credit.rows.sources import Input, expand
from dpo_credit.text.encode import encode_answers
from dpo_credit.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Rows:
    """What is trained on: `rows` as TRL takes them, `tokens` of each row's one or two answers, and what to say.

    `part`: from where to where of prompt and answer together is trained on.
    """

    rows: tuple[dict[str, Any], ...]
    tokens: tuple[tuple[Tokens, ...], ...]
    notes: tuple[str, ...] = ()
    part: tuple[int | None, int | None] = (None, None)

    @property
    def sha256(self) -> str:
        """The hash of the rows in their order."""
        text = json.dumps(self.rows, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def lengths(self) -> list[int]:
        """Tokens of prompt and answer, of each answer."""
        return [len(tokens.prompt_ids) + len(tokens.answer_ids) for answers in self.tokens for tokens in answers]


def rows_of(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Rows:
    """The rows of a recipe.

    Raises:
        CreditError: a row is none, is longer than `max_length` (unless such rows are dropped), or there is none.
    """
    inputs = [Input(recipe.dataset, dataset=True, split=recipe.split)] if recipe.dataset else expand(recipe.data)
    read = list(read_rows(read_records(inputs), limit=recipe.limit))
    taken = list(_answers(read, recipe))
    if not taken:
        wanted = "prompt, chosen and rejected" if recipe.method == "dpo" else "prompt and completion"
        raise CreditError(f"there are no rows in {', '.join(item.name for item in inputs)}. Give rows with {wanted}.")
    if len({isinstance(answers[0].prompt, str) for answers in taken}) > 1:
        raise CreditError("some rows are text and some are chats, which TRL does not take together. Split them.")
    encoded = [tuple(encode_answers(tokenizer, answers)) for answers in taken]
    longest = [max(len(item.prompt_ids) + len(item.answer_ids) for item in answers) for answers in encoded]
    over = [n for n, length in enumerate(longest) if length > recipe.max_length]
    notes = tuple(dict.fromkeys(note for row in read for note in row.notes))
    notes += tuple(note for answers in encoded[:1] for item in answers for note in item.notes)
    if over and recipe.too_long == "error":
        raise CreditError(
            f"{len(over)} of {len(taken)} rows are longer than max_length {recipe.max_length} (the first: "
            f"{taken[over[0]][0].id}, {longest[over[0]]} tokens), and TRL would cut them. Raise max_length, leave such "
            "rows out with too_long: drop, or let it with too_long: truncate."
        )
    why = "longer than"
    part: tuple[int | None, int | None] = (None, None)
    if over and recipe.too_long == "truncate":
        mode = recipe.trl.get("truncation_mode", "keep_start")
        part = (-recipe.max_length, None) if mode == "keep_end" else (None, recipe.max_length)
        # from the start nothing is kept of an answer whose prompt alone is as long, and TRL leaves the row out
        filled = [n for n in over if mode != "keep_end" and len(encoded[n][0].prompt_ids) >= recipe.max_length]
        notes += (f"{len(over) - len(filled)} of {len(taken)} rows are cut to max_length {recipe.max_length} ({mode})",)
        why, over = "their prompts alone fill", filled
    if over:
        notes += (f"{len(over)} of {len(taken)} rows are left out: {why} max_length {recipe.max_length}",)
        if len(over) == len(taken):
            raise CreditError(f"all {len(taken)} rows are longer than max_length {recipe.max_length}. Raise it.")
    kept = [n for n in range(len(taken)) if n not in set(over)]
    rows = [_trl_row(taken[n]) for n in kept]
    # a table has the columns of its first row
    nothing: dict[str, Any] = {name: {} if name == "chat_template_kwargs" else None for row in rows for name in row}
    return Rows(tuple({**nothing, **row} for row in rows), tuple(encoded[n] for n in kept), notes, part)


def _answers(rows: Iterable[Row], recipe: Recipe) -> Iterable[tuple[Example, ...]]:
    for row in rows:
        if recipe.method == "sft":
            yield from ((answer,) for answer in (row.examples[:1] if row.kind == "preference" else row.examples))
        elif row.kind == "preference":
            yield row.examples
        else:
            raise CreditError(f"{row.id} has no chosen and rejected, which is what DPO learns from. Give preferences.")


def _trl_row(answers: Sequence[Example]) -> dict[str, Any]:
    """A row as TRL reads it: its messages whole; its tools as JSON, which a table of all rows leaves as it is."""
    names = ("completion",) if len(answers) == 1 else ("chosen", "rejected")
    row = {"prompt": as_json(answers[0].prompt), **dict(zip(names, map(answer_json, answers), strict=True))}
    kwargs = dict(answers[0].template_kwargs)
    if "tools" in kwargs:
        row["tools"] = json.dumps(kwargs.pop("tools"), ensure_ascii=False)
    return {**row, "chat_template_kwargs": kwargs} if kwargs else row


def compare(rows: Rows, dataset: Any) -> None:
    """Make sure that TRL trains on the very tokens that `score` scores.

    Args:
        rows: ours.
        dataset: the trainer's, in the same order.

    Raises:
        CreditError: a row's tokens differ; the message names the first.
    """
    if len(dataset) != len(rows.rows):
        raise CreditError(f"TRL keeps {len(dataset)} of {len(rows.rows)} rows. Raise max_length, or leave them out.")
    for n, (answers, theirs) in enumerate(zip(rows.tokens, dataset, strict=True), 1):
        # TRL cuts a preference in its batch, and SFT's rows in the dataset
        part = (None, None) if "prompt_ids" in theirs else rows.part
        ours = [_part(tokens, slice(*part)) for tokens in answers]
        if (encoded := _ids(theirs)) != ours:
            at = next(k for k, (a, b) in enumerate(zip(ours, encoded, strict=True)) if a != b)
            raise CreditError(
                f"row {n}: TRL encodes it otherwise than dpo-credit ({len(encoded[at][0])} + {len(encoded[at][1])} "
                f"tokens, ours {len(ours[at][0])} + {len(ours[at][1])}), so rewards would not be those trained. "
                "End the prompt where a token ends, as before a space."
            )


def _part(tokens: Tokens, part: slice) -> tuple[list[int], list[int]]:
    """The ids of prompt and answer that lie in a part of both together."""
    both = list(enumerate((*tokens.prompt_ids, *tokens.answer_ids)))[part]
    cut = len(tokens.prompt_ids)
    return [i for n, i in both if n < cut], [i for n, i in both if n >= cut]


def _ids(row: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    if "prompt_ids" in row:
        return [(list(row["prompt_ids"]), list(row[name])) for name in ("chosen_ids", "rejected_ids")]
    ids, labels = row["input_ids"], row["labels"]
    cut = next((t for t, label in enumerate(labels) if label != -100), len(ids))
    return [(list(ids[:cut]), list(ids[cut:]))]


def followed(recipe: Recipe) -> tuple[Row, ...]:
    """The preferences that a training is followed on.

    Raises:
        CreditError: there are some and this is no DPO, or one is none; or one is to be watched, and there are none.
    """
    if recipe.follow is None:
        if recipe.watch is not None:
            raise CreditError("watch names one of the rows of follow, and there is none. Set follow: FILE.")
        return ()
    if recipe.method == "sft":
        raise CreditError("follow is of DPO, whose rewards it shows. Leave it out.")
    rows = tuple(read_rows(read_records(expand([recipe.follow]))))
    if wrong := next((row for row in rows if row.kind != "preference"), None):
        raise CreditError(f"follow {recipe.follow}: {wrong.id} has no chosen and rejected. Give preferences.")
    return rows

"""Two answers to compare: out of one row, out of two files, or two answers after a prompt of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dpo_credit.credit import CreditError, Example
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.chats import Prompt
from dpo_credit.rows.documents import TLDR
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import Row, line_notes, stem


def choose(row: Row, pick: str | None = None, every: bool = False) -> Row:
    """The row with the two answers to compare: chosen and rejected, the only two, those picked, or `every` one.

    Args:
        row: any row with two answers or more.
        pick: two numbers with a comma, counted from 0.
        every: keep all.

    Raises:
        CreditError: there are not two answers, or more and none picked.
    """
    count = len(row.examples)
    if count < 2:
        raise CreditError(
            f"{row.id} has one answer; a diff needs two. Name a second file, or give chosen and rejected."
        )
    if every or (pick is None and count == 2):
        return row
    if pick is None:
        raise CreditError(f"{row.id} has {count} answers. Name two with --pick 0,1 or compare all with --all.")
    numbers = [int(part) if part.strip().isdecimal() else count for part in pick.split(",")]
    if len(numbers) != 2 or numbers[0] == numbers[1] or max(numbers) >= count:
        raise CreditError(f"--pick {pick} does not name two of {row.id}'s answers, 0 to {count - 1}, such as 0,1.")
    return replace(
        row,
        examples=tuple(row.examples[n] for n in numbers),
        labels=tuple(row.labels[n] for n in numbers),
    )


def pair_of(first: Record, second: Record | None, prompt: Prompt | None = None) -> Row:
    """Two files as one row: each a prompt and an answer, or an answer alone after `prompt`.

    Raises:
        CreditError: a file is missing or holds several answers, or the two prompts differ.
    """
    if second is None:
        raise CreditError("--prompt with one answer. Name a second file to compare it with, or use dpo-credit score.")
    examples, notes = zip(*(_example(record, prompt) for record in (first, second)), strict=True)
    names = [first.source, second.source]
    if examples[0].prompt != examples[1].prompt:
        raise CreditError(
            f"{names[0]} and {names[1]} have different prompts, so their totals do not compare. Put the same post "
            "before both, or give answers alone and the post with --prompt."
        )
    stems = [stem(name) for name in names]
    labels = tuple(stems if stems[0] != stems[1] else names)
    row = Row(f"{labels[0]}-{labels[1]}", "preference", examples, labels, prompt=examples[0].prompt)
    return replace(row, notes=tuple(dict.fromkeys((*notes[0], *notes[1]))))


def _example(record: Record, prompt: Prompt | None) -> tuple[Example, tuple[str, ...]]:
    name = record.source
    if prompt is None:
        row = record.row(default_id=stem(name))
        if len(row.examples) != 1:
            raise CreditError(f"{name} holds {len(row.examples)} answers: compare them with dpo-credit diff {name}.")
        return replace(row.examples[0], id=stem(name)), row.notes
    answer = record.content
    if not isinstance(answer, str):
        raise CreditError(f"{name} is JSON; with --prompt it must be text, the answer alone.")
    if isinstance(prompt, str) and prompt.endswith(TLDR) and not answer[0].isspace():
        answer = f" {answer}"  # the public TL;DR format puts a space after the colon
    return Example(prompt, answer, stem(name)), line_notes(answer)


def preferences(rows: Iterable[Row], aside: SetAside = STRICT) -> list[Row]:
    """The rows, each of which has a chosen and a rejected answer.

    Raises:
        CreditError: there is none, or one has no two answers to compare and is not set aside.
    """
    taken = []
    for row in rows:
        if row.kind == "preference":
            taken.append(row)
            continue
        message = f"{row.id} has no chosen and rejected, which is what a DPO trainer takes. Give pairs."
        aside.add(row.id, row.place, CreditError(message))
    aside.require(taken)
    if not taken:
        raise CreditError("there are no rows. Give JSONL with prompt, chosen and rejected.")
    return taken

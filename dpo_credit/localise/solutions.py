"""Rows of solutions in steps, of which the first wrong one is known -> Solutions.

The fields are ProcessBench's (Zheng et al. 2024, arXiv:2412.06559): `problem`, `steps`, and `label`, the index of the
first wrong step, or -1 where all are right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from dpo_credit.credit import CreditError, Example
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.chats import prompt_text
from dpo_credit.rows.documents import json_type
from dpo_credit.rows.prompts import field_names
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import id_of, parse_row

SEPARATOR = "\n\n"  # between steps, and between a problem that is text and the first of them
_SHAPE = '{"problem": "...", "steps": ["...", "..."], "label": 1}, label -1 where no step is wrong'


@dataclass(frozen=True, slots=True)
class Solution:
    """An answer in S steps: `starts` (S,), the character that each begins at, and the first wrong one, -1 for none."""

    id: str
    answer: Example
    starts: tuple[int, ...]
    label: int
    place: str = ""

    @property
    def prompt(self) -> str:
        """The problem as people read it; empty where there is none."""
        return prompt_text(self.answer.prompt)


def solutions_of(
    records: Iterable[Record], aside: SetAside = STRICT, *, prompt_key: str | None = None
) -> list[Solution]:
    """The solutions of records, their steps joined by blank lines.

    Args:
        records: each with a problem (`problem`, or `prompt`: text or messages), `steps` and `label`.
        aside: takes the records that are no such solution.
        prompt_key: the field that holds the problem, where it has another name.

    Raises:
        CreditError: a record is no such solution and not set aside, or there is none.
    """
    made, source = [], "the input"
    for record in records:
        source = record.source
        try:
            made.append(_solution(record, prompt_key))
        except CreditError as error:
            aside.add(record.id, record.place, error)
    aside.require(made)
    if not made:
        raise CreditError(f"{source} is empty. Give rows such as {_SHAPE}.")
    return made


def _solution(record: Record, prompt_key: str | None) -> Solution:
    fields = record.fields()
    row_id = id_of(fields, record.default_id)
    key = prompt_key or next((name for name in ("problem", "prompt") if name in fields), None)
    if key is None or key not in fields:
        raise CreditError(
            f"{row_id}: no field {key or 'problem'!r}; the row has {field_names(fields)}. Give rows such as {_SHAPE}."
        )
    steps, label = _steps(fields, row_id), fields.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or not -1 <= label < len(steps):
        raise CreditError(
            f"{row_id}: label is {label!r}; of {len(steps)} steps, it must be the index of the first wrong one, from 0 "
            f"to {len(steps) - 1}, or -1 where none is wrong."
        )
    prompt = fields[key]
    before = SEPARATOR if isinstance(prompt, str) and prompt == prompt.rstrip() != "" else ""
    text = before + SEPARATOR.join(steps)
    answer = parse_row({"id": row_id, "prompt": prompt, "completion": text}, row_id).examples[0]
    first = len(answer.answer) - len(text) + len(before)
    starts = accumulate((len(step) + len(SEPARATOR) for step in steps[:-1]), initial=first)
    return Solution(row_id, answer, tuple(starts), label, record.place)


def _steps(fields: dict[str, Any], row_id: str) -> list[str]:
    if "steps" not in fields:
        raise CreditError(f"{row_id}: no steps; the row has {field_names(fields)}. Give rows such as {_SHAPE}.")
    steps = fields["steps"]
    if not isinstance(steps, list) or not steps:
        raise CreditError(f"{row_id}: steps is a {json_type(steps)}; it must be a list of at least one text.")
    for n, step in enumerate(steps):
        if not isinstance(step, str) or not step.strip():
            raise CreditError(f"{row_id}: step {n} is {step!r}; each must be text that says something.")
    return steps

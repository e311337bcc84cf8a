"""Rows with labelled wrong spans -> Cases: the wrong answer, the right one if there is one, and its errors.

The labels' field names are RAGTruth's (Niu et al. 2024, arXiv:2401.00396): `start`, `end`, `text`, with a `kind` or a
`label_type`, in characters of the answer as the row holds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dpo_credit.credit import CreditError, Example
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.chats import prompt_text
from dpo_credit.rows.documents import json_type
from dpo_credit.rows.prompts import field_names
from dpo_credit.rows.records import Row

UNSPECIFIED = "unspecified"
_SHOWN = 40  # characters of text in a message
_SHAPE = '[{"start": 12, "end": 16, "text": "nine", "kind": "number"}], in characters of the wrong answer'


@dataclass(frozen=True, slots=True)
class Error:
    """Characters [start, end) of a wrong answer that are wrong, what kind of error it is, and what would be right."""

    start: int
    end: int
    kind: str = UNSPECIFIED
    original: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """An answer with its errors in order, none of which overlap, the right answer if the row has one, and its place.

    `group` is what the row holds in the field that answers are grouped by, such as the system that wrote it.
    """

    id: str
    wrong: Example
    errors: tuple[Error, ...]
    right: Example | None = None
    place: str = ""
    group: str = ""

    @property
    def prompt(self) -> str:
        """The prompt as people read it; empty where there is none."""
        return prompt_text(self.wrong.prompt)


def cases_of(rows: Iterable[Row], aside: SetAside = STRICT, *, group_by: str | None = None) -> list[Case]:
    """The labelled answers of rows.

    Args:
        rows: with a prompt, `rejected` (and `chosen`) or a single answer, and `labels`. An answer whose `labels` are
            empty has no error.
        aside: takes the rows that are no such answer.
        group_by: the field that holds an answer's group.

    Raises:
        CreditError: a row has no such answer or field, a label lies outside its answer or does not match it, or no row
            has any.
    """
    cases, source = [], "the input"
    for row in rows:
        source = row.source
        try:
            cases.append(_case(row, group_by))
        except CreditError as error:
            aside.add(row.id, row.place, error)
    aside.require(cases)
    if not cases:
        raise CreditError(f"{source} is empty. Give rows with labels: {_SHAPE}.")
    if not any(case.errors for case in cases):
        raise CreditError(f"{source}: no row has a label, so there is nothing to find. Give labels: {_SHAPE}.")
    return cases


def _case(row: Row, group_by: str | None) -> Case:
    wrong, errors = marked(row)
    right = row.examples[0] if row.kind == "preference" else None
    group = "" if group_by is None else _group(row, group_by)
    return Case(row.id, wrong, _merged(errors), right, row.place, group)


def marked(row: Row) -> tuple[Example, list[Error]]:
    """The answer that a row's labels are about, and the labels in the order of the row.

    Raises:
        CreditError: the row has no such answer or no labels, or a label lies outside its answer or does not match it.
    """
    if row.kind == "list":
        raise CreditError(
            f"{row.id}: several answers, but labels are about one. Give rejected (and chosen), or one answer a row."
        )
    wrong = row.examples[-1]
    if "labels" not in row.fields:
        raise CreditError(f"{row.id}: no labels. Give labels: {_SHAPE}; an empty list where nothing is wrong.")
    labels = row.fields["labels"]
    if not isinstance(labels, list):
        raise CreditError(f"{row.id}: labels must be a list: {_SHAPE}.")
    given = _given(row.fields[row.answer_keys[-1]], wrong.answer)
    errors = [_error(label, f"{row.id}: label {n}", given) for n, label in enumerate(labels, 1)]
    shift = len(wrong.answer) - len(given)  # a prompt split off before the answer, or a space put there
    moved = [Error(error.start + shift, error.end + shift, error.kind, error.original) for error in errors]
    if any(mark.start < 0 for mark in moved):
        raise CreditError(f"{row.id}: a label lies in the prompt. Labels mark what is wrong in the answer.")
    return wrong, moved


def _group(row: Row, name: str) -> str:
    if name not in row.fields:
        raise CreditError(f"{row.id}: no field {name!r} (--group-by); the row has {field_names(row.fields)}.")
    value = row.fields[name]
    if isinstance(value, dict | list):
        raise CreditError(f"{row.id}: {name} is a {json_type(value)} (--group-by); group by text or a number.")
    return value if isinstance(value, str) else json.dumps(value)


def _given(value: Any, answer: str) -> str:
    """The answer as the row holds it, which is what labels count characters of: it ends as the scored one."""
    text = value["text"] if isinstance(value, dict) and isinstance(value.get("text"), str) else value
    return text if isinstance(text, str) and (text.endswith(answer) or answer == f" {text}") else answer


def _error(label: Any, name: str, answer: str) -> Error:
    if not isinstance(label, dict):
        raise CreditError(f"{name} is no object. Labels look like {_SHAPE}.")
    start, end = label.get("start"), label.get("end")
    if not all(isinstance(at, int) and not isinstance(at, bool) for at in (start, end)):
        raise CreditError(f"{name} has start {start!r} and end {end!r}; both must be whole numbers of characters.")
    assert isinstance(start, int) and isinstance(end, int)
    if not 0 <= start < end <= len(answer):
        raise CreditError(
            f"{name} spans characters {start} to {end} of an answer of {len(answer)}. Count from 0, end excluded."
        )
    covered, text = answer[start:end], label.get("text")
    if isinstance(text, str) and text and text != covered:
        places = [match.start() for match in re.finditer(re.escape(text), answer)]
        hint = f"it stands at {places[0]}" if len(places) == 1 else "count characters, not bytes or tokens, from 0"
        raise CreditError(
            f"{name} says {_short(text)} but characters {start} to {end} of the answer are {_short(covered)}: {hint}."
        )
    if not covered.strip():
        raise CreditError(f"{name} covers white space only, which no token is wrong by.")
    kind = next((label[key] for key in ("kind", "label_type", "type") if isinstance(label.get(key), str)), "")
    original = label.get("original")
    # white space at a label's ends belongs to right tokens
    start, end = start + len(covered) - len(covered.lstrip()), end - len(covered) + len(covered.rstrip())
    return Error(start, end, kind.strip() or UNSPECIFIED, original if isinstance(original, str) else None)


def _merged(errors: list[Error]) -> tuple[Error, ...]:
    """Labels in order; those that overlap, as two annotators' do, are one error of the first one's kind."""
    merged: list[Error] = []
    for mark in sorted(errors, key=lambda error: (error.start, error.end)):
        if merged and mark.start < merged[-1].end:
            first = merged.pop()
            mark = Error(first.start, max(first.end, mark.end), first.kind, first.original)
        merged.append(mark)
    return tuple(merged)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")

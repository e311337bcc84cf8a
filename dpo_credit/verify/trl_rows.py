"""Rows as TRL's trainer is given them: the user's own fields, never our reading of them where TRL takes them itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.extras import trl_installed
from dpo_credit.rows.chats import TEMPLATE_KEYS, answer_json, as_json, is_chat
from dpo_credit.rows.records import Row, parse_row

_ANSWERS = ("chosen", "rejected")


def trl_row(row: Row) -> dict[str, Any]:
    """The fields of a preference that TRL reads, as the user wrote them; where it takes no such row, as we read it."""
    names = ("prompt", *_ANSWERS, *TEMPLATE_KEYS)
    if is_trls(row):
        return {name: row.fields[name] for name in names if row.fields.get(name) is not None}
    prompt = as_json(row.prompt)
    answers = zip(_ANSWERS, map(answer_json, row.examples), strict=True)
    kwargs = {name: row.fields[name] for name in TEMPLATE_KEYS if row.fields.get(name) is not None}
    return {"prompt": prompt, **dict(answers), **kwargs}


def is_trls(row: Row) -> bool:
    """Whether TRL takes a row as it stands: all text or all messages, and its prompt under that name or none."""
    fields = [row.fields.get(name) for name in _ANSWERS]
    if row.prompt_keys and row.prompt_keys != ("prompt",):
        return False
    if "prompt" in row.fields:
        fields.append(row.fields["prompt"])
    return all(isinstance(field, str) for field in fields) or all(map(is_chat, fields))


def tabled(rows: Sequence[Row]) -> list[Row]:
    """The rows as they come out of one Arrow table: each has the fields of the others, as null.

    Those that a table does not take, or all without `datasets`, stay as they are.
    """
    if not trl_installed() or not any(row.is_chat for row in rows):
        return list(rows)
    import datasets

    taken = [n for n, row in enumerate(rows) if row.is_chat]
    given = [trl_row(rows[n]) for n in taken]
    names = {name: None for fields in given for name in fields}  # a table has the columns of its first row
    try:
        table = datasets.Dataset.from_list([{**names, **fields} for fields in given])
        read = {n: parse_row(fields, rows[n].id) for n, fields in zip(taken, table, strict=True)}
    except (CreditError, ValueError, TypeError, OverflowError):  # Arrow's are ValueErrors and TypeErrors
        return list(rows)
    return [replace(read[n], source=row.source, line=row.line) if n in read else row for n, row in enumerate(rows)]

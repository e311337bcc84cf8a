"""Scored rows for the tests of `report`: hand-made credits in rows, as Python has them and as JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from credits import credit

from dpo_credit.credit import Credit
from dpo_credit.rows.output import to_json
from dpo_credit.rows.records import Kind, Row, labels_of
from dpo_credit.rows.scored import ScoredRow


def saved(
    credits: Iterable[Credit],
    kind: Kind = "preference",
    *,
    line: int = 1,
    row_id: str = "",
    prompt: int | None = None,
) -> ScoredRow:
    """A row of a file; its prompt is its own, or the one of this number."""
    prompt_ids = (1, 2, line if prompt is None else prompt)
    credits = tuple(replace(each, tokens=replace(each.tokens, prompt_ids=prompt_ids)) for each in credits)
    labels = labels_of(kind, len(credits))
    return ScoredRow(Row(row_id or f"row-{line}", kind, labels=labels, source="scored.jsonl", line=line), credits)


def scored_row(
    credits: Iterable[Credit], labels: Sequence[str] = ("",), row_id: str = "x", *, prompt: str = ""
) -> ScoredRow:
    """Answers as a view gets them."""
    kind: Kind = "preference" if tuple(labels) == ("chosen", "rejected") else "list"
    return ScoredRow(Row(row_id, kind, labels=tuple(labels), prompt=prompt), tuple(credits))


def pairs(values: Iterable[tuple[float, float]]) -> list[ScoredRow]:
    """Preferences in which both answers are one word with these rewards."""
    return [
        saved([credit([" yes"], [chosen]), credit([" no"], [rejected])], line=line)
        for line, (chosen, rejected) in enumerate(values, 1)
    ]


def write(path: Path, rows: Iterable[ScoredRow]) -> Path:
    """The rows as `--json` and `batch` write them."""
    lines = [json.loads(to_json(row)) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        line["id"] = row.id
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path

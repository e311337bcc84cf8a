"""Scored rows for the tests of `report`: hand-made credits in rows, as Python has them and as JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from credits import credit

from dpo_credit.credit import Credit
from dpo_credit.rows.output import row_record, to_json
from dpo_credit.rows.records import Kind, Row, labels_of
from dpo_credit.rows.saved import SavedRow


def saved(credits: Iterable[Credit], kind: Kind = "preference", *, line: int = 1, row_id: str = "") -> SavedRow:
    credits = tuple(credits)
    row = Row(row_id or f"row-{line}", kind, (), labels_of(kind, len(credits)))
    return SavedRow("scored.jsonl", line, row, credits)


def pairs(values: Iterable[tuple[float, float]]) -> list[SavedRow]:
    """Preferences in which both answers are one word with these rewards."""
    return [
        saved([credit([" yes"], [chosen]), credit([" no"], [rejected])], line=line)
        for line, (chosen, rejected) in enumerate(values, 1)
    ]


def write(path: Path, rows: Iterable[SavedRow]) -> Path:
    """The rows as `--json` and `batch` write them."""
    lines = [json.loads(to_json(row_record(row.row, row.credits))) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        line["id"] = row.row.id
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path

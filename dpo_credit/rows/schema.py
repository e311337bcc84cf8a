"""JSON Schemas of what is written, made from the types: `python -m dpo_credit.rows.schema` writes that of `--json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_credit.rows.output import ScoredRecord

SHIPPED = Path(__file__).parent / "schema.json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12; a row with its own fields, whatever they are, and its credit."""
    return schema_of(ScoredRecord, "dpo-credit/credit@2")


def schema_of(record: type, title: str) -> dict[str, Any]:
    """Draft 2020-12, of a dataclass as it is written."""
    from pydantic import TypeAdapter

    return {"$schema": DRAFT, **TypeAdapter(record).json_schema(mode="serialization"), "title": title}


def ship(schema: dict[str, Any], path: Path) -> None:
    """Write a schema where the package has it."""
    path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

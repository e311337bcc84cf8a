"""The JSON Schema of what `compare --json` writes: `python -m dpo_credit.compare.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.compare.saved import SCHEMA, CompareRecord
from dpo_credit.rows.schema import schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return schema_of(CompareRecord, SCHEMA)


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

"""The JSON Schema of what `refine -o` writes beside a row's own fields: `python -m dpo_credit.refine.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.refine.saved import SCHEMA, RefineRecord
from dpo_credit.rows.schema import schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return schema_of(RefineRecord, SCHEMA)


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

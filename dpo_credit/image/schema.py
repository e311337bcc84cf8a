"""The JSON Schema of `image --json`, made from the types in `saved`: `python -m dpo_credit.image.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.image.saved import SCHEMA, ImageRecord
from dpo_credit.rows.schema import schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return schema_of(ImageRecord, SCHEMA)


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

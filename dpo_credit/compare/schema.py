"""The JSON Schema of what `compare --json` writes: `python -m dpo_credit.compare.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_credit.compare.saved import SCHEMA, CompareRecord

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(CompareRecord).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": SCHEMA}


if __name__ == "__main__":
    SHIPPED.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")

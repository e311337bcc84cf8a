"""The JSON Schema of what `--json` writes, made from the types in `output`: `python -m dpo_credit.rows.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_credit.rows.output import ScoredRecord

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12; a row with its own fields, whatever they are, and its credit."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(ScoredRecord).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dpo-credit/credit@2", **schema}


if __name__ == "__main__":
    SHIPPED.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")

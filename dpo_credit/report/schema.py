"""The JSON Schema of `report --json`, made from the types in `figures`: `python -m dpo_credit.report.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_credit.report.figures import Report

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Report).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "dpo-credit/report@1"}


if __name__ == "__main__":
    SHIPPED.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")

"""The JSON Schema of `report --json`, made from the types in `figures`: `python -m dpo_credit.report.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.report.figures import Report
from dpo_credit.rows.schema import schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return schema_of(Report, "dpo-credit/report@1")


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

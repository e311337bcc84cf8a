"""The JSON Schema of what `localise --json` writes: `python -m dpo_credit.localise.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.localise.localised import LocaliseReport
from dpo_credit.localise.stepwise import FirstErrorReport
from dpo_credit.rows.schema import DRAFT, schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12: of spans under `$defs/localise`, of `--first-error` under `$defs/first-error`; one of the two."""
    kinds = {"localise": LocaliseReport, "first-error": FirstErrorReport}
    shared: dict[str, Any] = {}
    for name, kind in kinds.items():
        schema = schema_of(kind, f"dpo-credit/{name}@1")
        shared |= schema.pop("$defs") | {name: {key: value for key, value in schema.items() if key != "$schema"}}
    return {"$schema": DRAFT, "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds], "$defs": shared}


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

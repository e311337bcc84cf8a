"""The JSON Schemas of what `export` writes, one a form: `python -m dpo_credit.export.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_credit.export.rollouts import PrimeRecord, RolloutRecord
from dpo_credit.export.tokens import TokenRecord, UnitRecord
from dpo_credit.export.trl import REFERENCE
from dpo_credit.rows.schema import DRAFT, ship

SHIPPED = Path(__file__).parent / "schema.json"
_NUMBER, _NUMBERS = {"type": "number"}, {"type": "array", "items": {"type": "number"}}
_SUMS = r"(reward|policy_logp|reference_logp)"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12: the line of each form under `$defs`, of tokens `--by` another unit as `units`.

    A row's own fields stand beside the columns.
    """
    from pydantic import TypeAdapter

    kinds = {"tokens": TokenRecord, "units": UnitRecord, "prime-rl": PrimeRecord, "rollout-viz": RolloutRecord}
    forms: dict[str, dict[str, Any]] = {
        name: TypeAdapter(kind).json_schema(mode="serialization") for name, kind in kinds.items()
    }
    forms["trl-reference"] = _row(
        dict.fromkeys(REFERENCE, _NUMBER), required=["prompt", "chosen", "rejected", *REFERENCE]
    )
    forms["token-weights"] = _row(
        patterns={
            "^(chosen|rejected|completion)_token_ids$": {"type": "array", "items": {"type": "integer"}},
            "^(chosen|rejected|completion)_(weights|rewards)$": _NUMBERS,
        },
        required=["prompt"],
    )
    forms["columns"] = _row(
        {"margin": _NUMBER, "preference_probability": _NUMBER},
        patterns={
            rf"^((chosen|rejected)_)?{_SUMS}$": _NUMBER,
            rf"^{_SUMS}s$": _NUMBERS,
            "^(chosen|rejected)_tokens$": {"type": "integer"},
        },
    )
    return {
        "$schema": DRAFT,
        "title": "dpo-credit/export@1",
        "$defs": dict(sorted(forms.items())),
    }


def _row(
    properties: dict[str, Any] | None = None,
    *,
    patterns: dict[str, Any] | None = None,
    required: list[str] | None = None,
) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "patternProperties": patterns, "required": required}
    return {name: value for name, value in schema.items() if value}


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)

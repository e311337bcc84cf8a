"""What tables hold and JSON does not is said in JSON, and read back into the types that it had."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from dpo_credit import CreditError
from dpo_credit.rows.values import table_row, typed

AT = datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
VALUES: dict[str, tuple[Any, Any]] = {
    "text": ("é\n", "é\n"),
    "null": (None, None),
    "boolean": (True, True),
    "a large number": (2**64 - 1, 2**64 - 1),
    "a fraction": (0.1, 0.1),
    "NaN": (float("nan"), None),
    "infinity": (float("-inf"), None),
    "a NumPy number": (np.float32(0.5), 0.5),
    "a NumPy array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "a time stamp": (AT, "2024-01-02T03:04:05.000006+00:00"),
    "a date": (datetime.date(2024, 1, 2), "2024-01-02"),
    "a time of day": (datetime.time(3, 4, 5), "03:04:05"),
    "a duration": (datetime.timedelta(minutes=1, seconds=0.5), "PT60.5S"),
    "a decimal": (Decimal("1.50"), "1.50"),
    "bytes": (b"\xff\x00", "/wA="),  # 111111 110000 000000 and padding
    "a UUID": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "a map": ([("a", 1), ("b", Decimal(2))], [["a", 1], ["b", "2"]]),
    "a struct": ({"at": AT, "scores": [1.0, float("nan")]}, {"at": AT.isoformat(), "scores": [1.0, None]}),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_every_value_is_said_in_json(value: Any, expected: Any) -> None:
    row = table_row({"x": value})
    assert row.fields == {"x": expected}
    assert not row.wrong


def test_a_column_whose_nan_is_lost_is_named_once() -> None:
    row = table_row({"a": [float("nan"), {"b": float("inf")}], "c": 1.0, "d": float("nan")})
    assert row.notes == tuple(f"NaN and infinity in column {name} are null in JSON" for name in "ad")


def test_what_json_has_no_value_for_is_the_rows_error() -> None:
    row = table_row({"id": 3, "picture": object()})
    assert row.wrong == "column picture holds a object, which JSON has no value for. Leave it out."
    assert row.fields == {"id": 3}


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"chosen": b"a"}, "chosen holds bytes where text is scored"),
        ({"chosen": Decimal(1)}, "chosen holds decimals"),
        ({"chosen": [{"role": "assistant", "content": b"a"}]}, "chosen holds bytes"),
        ({"chosen": [b"a"]}, "chosen holds bytes"),
        ({"chosen": [{"role": "assistant", "content": "a", "at": AT}]}, None),
        ({"blob": b"a", "chosen": "a"}, None),
    ],
)
def test_what_was_no_text_is_never_scored_as_text(fields: dict[str, Any], refused: str | None) -> None:
    row = table_row(fields)
    if refused is None:
        row.refuse_made_text(["chosen"])
    else:
        with pytest.raises(CreditError, match=refused):
            row.refuse_made_text(["chosen"])


def test_what_arrow_held_is_read_back_into_its_type() -> None:
    arrow = pytest.importorskip("pyarrow")
    kept = {
        "timestamp": ([AT, None], arrow.timestamp("us", tz="UTC")),
        "nanoseconds": ([1700000000123456789, None], arrow.timestamp("ns")),
        "date": ([AT.date(), None], arrow.date32()),
        "time": ([AT.time(), None], arrow.time64("us")),
        "decimal": ([Decimal("1.50"), None], arrow.decimal128(5, 2)),
        "bytes": ([b"\xff\x00", None], arrow.binary()),
        "fixed": ([b"ab", None], arrow.binary(2)),
        "float": ([0.5, None], arrow.float32()),
        "number": ([3, None], arrow.int16()),
        "nested": ([{"at": AT.date()}, {"at": None}], arrow.struct([("at", arrow.date32())])),
        "list": ([[Decimal("1.5")], None], arrow.list_(arrow.decimal128(5, 2))),
        "nothing": ([None, None], arrow.date32()),
    }
    for name, (values, kind) in kept.items():
        column = arrow.array(values, kind)
        said = arrow.array([table_row({"x": value}).fields["x"] for value in column.to_pylist()])
        assert typed(said, kind).equals(column), name


def test_what_cannot_be_read_back_is_left_alone() -> None:
    arrow = pytest.importorskip("pyarrow")
    text = arrow.array(["PT1S", "b"])
    nested = arrow.struct([("b", arrow.binary())])
    for kind in (arrow.timestamp("us"), arrow.duration("s"), arrow.int64(), arrow.binary(), arrow.time64("us")):
        assert typed(text, kind) is None, kind
    assert typed(arrow.array([{"b": "eA=="}]), nested) is None

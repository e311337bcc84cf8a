"""What tables hold and JSON does not: NaN, times, decimals and bytes, said in JSON and, in an output, typed again."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from dpo_credit.credit import CreditError
from dpo_credit.extras import optional

_JSON = "extension<arrow.json>"
_TEXTS = ("content", "value", "text", "subreddit", "title", "post")  # fields inside a column that are scored


@dataclass(frozen=True, slots=True)
class TableRow:
    """A table's row in JSON's values.

    NaN and infinity are null; dates, times and durations ISO 8601; decimals and UUIDs text; bytes base64. Structs are
    objects, maps lists of pairs. `notes` say what was lost by that, and `made_text` which (column, field) was what.
    `wrong` says which column cannot be read, if one cannot; `fields` are the others.
    """

    fields: dict[str, Any]
    notes: tuple[str, ...] = ()
    made_text: Mapping[tuple[str, str], str] = field(default_factory=dict)
    wrong: str = ""

    def refuse_made_text(self, columns: Sequence[str]) -> None:
        """Make sure that prompts and answers were text from the start.

        Args:
            columns: those that they were read from.

        Raises:
            CreditError: one was bytes, a decimal or a time.
        """
        for (column, name), was in self.made_text.items():
            if column in columns and (name == column or name in _TEXTS):
                raise CreditError(f"{column} holds {was} where text is scored. Store it as a column of strings.")


def table_row(row: Mapping[str, Any], wrong: str = "") -> TableRow:
    """A row as Arrow and datasets give it, in JSON's values; `wrong` says what of it could not be read."""
    undefined: dict[str, None] = {}
    made_text: dict[tuple[str, str], str] = {}

    def said(value: Any, column: str, name: str) -> Any:
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            undefined[column] = None
            return None
        if isinstance(value, Mapping):
            return {str(key): said(inner, column, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [said(inner, column, name) for inner in value]
        if hasattr(value, "tolist"):  # NumPy's
            return said(value.tolist(), column, name)
        text, made_text[column, name] = _text(value)
        return text

    fields = {}
    for column, value in row.items():
        try:
            fields[column] = said(value, column, column)
        except TypeError as error:
            wrong = wrong or f"column {column} holds a {error}, which JSON has no value for. Leave it out."
        except RecursionError:
            wrong = wrong or f"column {column} is nested too deeply to be read."
    notes = tuple(f"NaN and infinity in column {name} are null in JSON" for name in undefined)
    return TableRow(fields, notes, made_text, wrong)


def _text(value: Any) -> tuple[str, str]:
    """A value as text, and what it was."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode(), "bytes"
    if isinstance(value, Decimal | UUID):
        return str(value), "decimals" if isinstance(value, Decimal) else "UUIDs"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(), "times"
    if isinstance(value, datetime.timedelta):
        return f"PT{value.total_seconds():.9f}".rstrip("0").rstrip(".") + "S", "durations"
    raise TypeError(type(value).__name__)


def stores_json(field: Any) -> bool:
    """Whether an Arrow field is, or has in it, JSON that is stored as text."""
    return _JSON in str(field.type)


def parsed(value: Any, kind: Any) -> Any:
    """A value of an Arrow type in which JSON is stored as text (`datasets`' Json), with that JSON read.

    Raises:
        ValueError: it is none.
    """
    if value is None or _JSON not in str(kind):
        return value
    if str(kind) == _JSON:
        return json.loads(value)
    if isinstance(value, dict):
        return {
            kind.field(n).name: parsed(value[kind.field(n).name], kind.field(n).type) for n in range(kind.num_fields)
        }
    return [parsed(item, kind.value_type) for item in value]


def typed(array: Any, kind: Any) -> Any:
    """An Arrow array of JSON's values as the type that its column had, or None where it is not of that type.

    Args:
        array: of what `table_row` made of the column, as Arrow reads JSON.
        kind: the Arrow type. Durations, and bytes and times of day inside structs and lists, are not read back.
    """
    if array.type == kind:
        return array
    pyarrow = optional("pyarrow", "a table")
    types = pyarrow.types
    read: Callable[[str], Any] | None = None
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        read = base64.b64decode
    elif types.is_time(kind):
        read = datetime.time.fromisoformat
    elif "binary" in str(kind):  # Arrow would take base64's letters for the bytes
        return None
    try:
        if read is None or types.is_null(array.type):
            return array.cast(kind)
        return pyarrow.array([None if value is None else read(value) for value in array.to_pylist()], kind)
    except (pyarrow.ArrowException, ValueError, TypeError):
        return None

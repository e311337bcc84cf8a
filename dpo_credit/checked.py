"""Saved JSON held to the types that it was written from (the published schema's, too), and libraries' errors in a line.

A whole number of JSON's is a float, too; a boolean is no number.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import chain
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dpo_credit.credit import LARGEST, CreditError

_SHOWN = 40  # characters of a value that a message quotes
_OF_CODE = (KeyError, IndexError, TypeError, AttributeError, AssertionError, RecursionError)
_MOST = {int: 2**63 - 1, float: LARGEST}
_SPAN = tuple[int, int]
_CALLED: dict[Any, str] = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
Check = Callable[[Any], tuple[str, Any, str] | None]  # where a value differs, what stands there, and what must


def check_fields(record: Any, kind: type, name: str, advice: str, *, required: Collection[str]) -> None:
    """Make sure that a saved object's fields are of a dataclass's types, as far as they are there.

    Args:
        record: as JSON has it; fields that the dataclass lacks are not looked at.
        kind: the dataclass.
        name: the record's, for messages.
        advice: what to do about a record that was changed.
        required: fields that must be there; another may be missing, or null as a table writes it.

    Raises:
        CreditError: it is no object, or a field is missing or of another type; the message names it, and what is there.
    """
    if not isinstance(record, dict):
        raise CreditError(f"{name} is {_shown(record)}, which must be an object. {advice}")
    for field, check in _checks(kind).items():
        value = record.get(field)
        if value is None and field not in required:
            continue
        if field not in record:
            raise CreditError(f"{name} has no {field}. {advice}")
        if (wrong := check(value)) is not None:
            at, found, wanted = wrong
            raise CreditError(f"{name}: {field}{at} is {_shown(found)}, which must be {wanted}. {advice}")


def reason_of(error: Exception) -> str:
    """The first line of what a library says, with the next where it only announces that.

    Where it is about the library's own code, such as a key or an index, it is said that the contents are at fault; and
    never what torch advises about a pickle that it refuses.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "weights_only" in str(error):
        return "it holds more than weights, which is not loaded"
    if not lines or isinstance(error, _OF_CODE):
        return f"its contents are not what they should be ({': '.join([type(error).__name__, *lines[:1]])})"
    if lines[0].endswith(":") and len(lines) > 1:
        more = f" ({len(lines) - 1} in all)" if len(lines) > 2 else ""
        return f"{lines[1]}{more}"
    return lines[0]


@cache
def _checks(kind: type) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {field.name: _check(hints[field.name]) for field in fields(kind)}


def _check(hint: Any) -> Check:
    """What finds the first part of a value that is not of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _among(inner)
    if origin is types.UnionType:  # T | None
        return _or_null(_check(inner[0]))
    if origin is list:
        return _each(_check(inner[0]), inner[0] if inner[0] in _CALLED or inner[0] == _SPAN else None)
    if origin is tuple and inner[-1] is ...:
        return _each(_check(inner[0]), None)
    if origin is tuple:
        return _several([_check(part) for part in inner])
    if origin is dict:
        return lambda value: None if isinstance(value, dict) else ("", value, "an object")
    if is_dataclass(hint):
        later = {part.name for part in fields(hint) if part.default is not MISSING}  # older files may lack them
        return _object(_checks(hint), later)  # type: ignore[arg-type]
    return _plain(hint)


def _plain(kind: Any) -> Check:
    def check(value: Any) -> tuple[str, Any, str] | None:
        if type(value) is not kind and not (kind is float and type(value) is int):
            return "", value, _CALLED[kind]
        most = _MOST.get(kind)
        return None if most is None or abs(value) <= most else ("", value, f"{_CALLED[kind]} of at most {most}")

    return check


def _among(values: tuple[Any, ...]) -> Check:
    return lambda value: None if value in values else ("", value, f"one of {', '.join(values)}")


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _each(check: Check, plain: Any) -> Check:
    def each(value: Any) -> tuple[str, Any, str] | None:
        if not isinstance(value, list):
            return "", value, "a list"
        if plain is not None and _all_plain(value, plain):  # as most are: thousands of tokens
            return None
        for n, item in enumerate(value):
            if (wrong := check(item)) is not None:
                return f"[{n}]{wrong[0]}", *wrong[1:]
        return None

    return each


def _all_plain(values: list[Any], kind: Any) -> bool:
    """Whether all are plainly of a kind, found faster than one by one; False says nothing."""
    types_of = set(map(type, values))
    if kind == _SPAN:
        return types_of <= {list} and set(map(len, values)) <= {2} and _all_plain(list(chain(*values)), int)
    if kind is float:
        types_of.discard(int)
    return types_of <= {kind} and (kind not in _MOST or all(map(_MOST[kind].__ge__, map(abs, values))))


def _several(checks: list[Check]) -> Check:
    def several(value: Any) -> tuple[str, Any, str] | None:
        if not isinstance(value, list) or len(value) != len(checks):
            return "", value, f"a list of {len(checks)}"
        for n, (check, item) in enumerate(zip(checks, value, strict=True)):
            if (wrong := check(item)) is not None:
                return f"[{n}]{wrong[0]}", *wrong[1:]
        return None

    return several


def _object(checks: dict[str, Check], later: Collection[str]) -> Check:
    def parts(value: Any) -> tuple[str, Any, str] | None:
        if not isinstance(value, dict):
            return "", value, "an object"
        for field, check in checks.items():
            if (field in value or field not in later) and (wrong := check(value.get(field))) is not None:
                return f".{field}{wrong[0]}", *wrong[1:]
        return None

    return parts


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of many digits"
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

"""What the lines of a file hold: JSON objects one a line, JSON over many lines (an object, an array), or text.

What is wrong with one record of many is its own and comes out in its place; a document that breaks off is the file's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Literal

from dpo_credit.credit import CreditError
from dpo_credit.rows.encodings import BOM, Line, decoded, utf8_lines

TLDR = "TL;DR:"
COMPRESSED = (".gz", ".zst", ".zstd")
JSON = (".json", ".jsonl", ".ndjson")
SHAPES = (
    "prompt with completion (or answer, response, summary), chosen and rejected, or completions; messages; "
    "or subreddit, title and post with summary or summaries"
)
_TYPES = {"dict": "object", "str": "text", "bool": "boolean", "int": "number", "float": "number", "NoneType": "null"}
_SPACE = re.compile(r"[ \t\n\r]*")

Content = bytes | str | dict[str, Any] | CreditError  # a line of JSON; text; an object; or what is wrong with it
Located = tuple[int, Content, int]  # as a Line


def contents(lines: Iterable[Line], name: str) -> Iterator[Located]:
    """The records of a file, each with the number of its line or, where JSON is no line, its number from 1.

    Its name decides where it ends in .txt (text) or in .json, .jsonl or .ndjson (JSON); else what it begins with does.
    JSONL comes line by line, as it is read, and ends its lines at "\\n" alone; blank lines are none. All else is one
    document: text is one record; JSON is an array, or objects one after another that may stand on many lines.

    UTF-16 and UTF-32 are read as UTF-8 is.

    Raises:
        CreditError: it is a kind of file that is no text, or a document is not UTF-8, or no JSON.
    """
    head = _Head(utf8_lines(lines, name))
    shape = _shape(head, name)
    if shape == "lines":
        for number, line, position in head.all():
            if line.removeprefix(BOM if number == 1 else b"").strip():
                yield number, line, position
        return
    document = list(head.all())
    size = document[-1][2]
    text = decoded(b"".join(line for _, line, _ in document), name)
    del document
    if shape == "document":
        yield from _values(text, name, size)
    elif text.strip():
        yield 1, text.rstrip("\r\n"), size


def json_object(text: str, name: str, *, line: int) -> dict[str, Any]:
    """A line of a file as a JSON object.

    Raises:
        CreditError: it is none, or holds a number that JSON cannot carry.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            raise CreditError(f"{name} holds more than one JSON object. Write one a line.") from error
        raise CreditError(f"{name} is not JSON: {error.msg} at line {line}, column {error.colno}.") from error
    except RecursionError as error:
        raise CreditError(f"{name} is nested too deeply to be a row.") from error
    except ValueError as error:  # a number that Python does not read, or that no JSON can be written with
        raise CreditError(_number(name, error)) from error
    if not isinstance(value, dict):
        raise CreditError(_no_object(name, value))
    return value


def json_type(value: Any) -> str:
    """A value's type, as JSON calls it."""
    name = type(value).__name__
    return _TYPES.get(name, name)


class _Head:
    """The lines of a file, of which the first may be looked at before all are taken."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._seen: list[Line] = []
        self._filled: list[bytes] = []

    def __getitem__(self, number: int) -> bytes | None:
        """A line that is not blank, counted from 0, without the white space around it; None behind the last."""
        while len(self._filled) <= number:
            line = next(self._lines, None)
            if line is None:
                return None
            self._seen.append(line)
            content = line[1].removeprefix(BOM if line[0] == 1 else b"").strip()
            if content:
                self._filled.append(content)
        return self._filled[number]

    def all(self) -> Iterator[Line]:
        """Each line, from the first on."""
        return chain(self._seen, self._lines)


def _shape(head: _Head, name: str) -> Literal["lines", "document", "text"]:
    """How a file is read; see `contents`. A first line that is torn makes no document of many good ones."""
    for end in COMPRESSED:
        name = name.removesuffix(end)
    if name.endswith(".txt"):
        return "text"
    named_json, first = name.endswith(JSON), head[0]
    if first is None:
        return "lines"
    if first.startswith(b"["):
        inside = first[1:].lstrip() or head[1] or b""
        return "document" if named_json or inside.startswith((b"{", b"]")) else "text"
    if first.startswith(b"{"):
        if _is_object(first) or (second := head[1]) is None:
            return "lines"
        return "lines" if _is_object(second) and (head[2] or b"{").startswith(b"{") else "document"
    return "lines" if named_json or _is_object(head[1] or b"") else "text"


def _is_object(line: bytes) -> bool:
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        # a number too long to read, or too many brackets, stand in a line that is one
        return not isinstance(error, json.JSONDecodeError)
    return True


def _values(text: str, name: str, size: int) -> Iterator[Located]:
    """The elements of an array, or the objects that follow each other."""
    problems: list[Exception] = []
    decoder = json.JSONDecoder(
        parse_constant=_noted(_no_constant, problems),
        parse_float=_noted(_finite, problems),
        parse_int=_noted(int, problems),
    )
    at, number = _after_space(text, 0), 0
    in_array = text.startswith("[", at)
    if in_array:
        at = _after_space(text, at + 1)
    while not (in_array and number == 0 and text.startswith("]", at)):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise CreditError(_not_json(name, error)) from error
        except RecursionError as error:
            raise CreditError(f"{name} is nested too deeply to be a row.") from error
        number += 1
        yield number, _element(value, problems, name, number if in_array else None), size * at // len(text)
        problems.clear()
        at = _after_space(text, at)
        if not in_array and at == len(text):
            return
        if in_array and text.startswith("]", at):
            break
        if in_array:
            if not text.startswith(",", at):
                raise CreditError(_not_json(name, json.JSONDecodeError("Expecting ',' delimiter", text, at)))
            at = _after_space(text, at + 1)
    if (rest := _after_space(text, at + 1)) < len(text):
        raise CreditError(_not_json(name, json.JSONDecodeError("Extra data after the array", text, rest)))


def _element(value: Any, problems: list[Exception], name: str, number: int | None) -> dict[str, Any] | CreditError:
    place = name if number is None else f"{name}, row {number}"
    if problems:
        problem = problems[0]
        return problem if isinstance(problem, CreditError) else CreditError(_number(place, problem))
    return value if isinstance(value, dict) else CreditError(_no_object(place, value))


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _noted(read: Callable[[str], Any], problems: list[Exception]) -> Callable[[str], Any]:
    """Reads a number; what is wrong with it is noted, so that the end of its element is found all the same."""

    def number(digits: str) -> Any:
        try:
            return read(digits)
        except (CreditError, ValueError) as error:
            problems.append(error)
            return None

    return number


def _finite(digits: str) -> float:
    if abs(float(digits)) == float("inf"):
        raise ValueError(f"{digits} is out of range")
    return float(digits)


def _no_constant(name: str) -> None:
    raise CreditError(f"{name} is not JSON; write null or a number.")


def _not_json(name: str, error: json.JSONDecodeError) -> str:
    return f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."


def _number(name: str, error: Exception) -> str:
    return f"{name} holds a number that cannot be kept: {error}. Write it as text."


def _no_object(name: str, value: Any) -> str:
    return f"{name} holds a JSON {json_type(value)}; a row is an object with {SHAPES}."

"""What the lines of a file hold: JSON objects one a line, JSON over many lines (an object, an array), or text.

What is wrong with one record of many is its own and comes out in its place; a document that breaks off is the file's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal

from dpo_credit.credit import CreditError
from dpo_credit.rows.elements import elements, finite, no_constant, number_error
from dpo_credit.rows.encodings import BOM, texts, utf8_lines
from dpo_credit.rows.lines import MOST_BYTES, Line, too_long, whole_lines

TLDR = "TL;DR:"
MOST_BLANK = 1 << 20  # lines before a row: each is held until it is known what kind of file it is
COMPRESSED = (".gz", ".zst", ".zstd")
JSON = (".json", ".jsonl", ".ndjson")
SHAPES = (
    "prompt with completion (or answer, response, summary), chosen and rejected, or completions; messages; "
    "or subreddit, title and post with summary or summaries"
)
_TYPES = {"dict": "object", "str": "text", "bool": "boolean", "int": "number", "float": "number", "NoneType": "null"}

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
    head = _Head(utf8_lines(lines, name), name)
    shape = _shape(head, name)
    if shape == "lines":
        for number, line, position in whole_lines(head.all(), name):
            if isinstance(line, CreditError) or line.removeprefix(BOM if number == 1 else b"").strip():
                yield number, line, position
    elif shape == "document":
        for number, value, position in elements(head.all(), name):
            is_row = isinstance(value, dict | CreditError)
            yield number, value if is_row else CreditError(_no_object(f"{name}, row {number}", value)), position
    else:
        yield from _text(head.all(), name)


def _text(pieces: Iterable[Line], name: str) -> Iterator[Located]:
    parts: list[str] = []
    position = size = 0
    for part, position in texts(pieces, name):  # noqa: B007  # the last one's is needed
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise CreditError(too_long(name))
    if (text := "".join(parts)).strip():
        yield 1, text.rstrip("\r\n"), position


def json_object(text: str, name: str, *, line: int) -> dict[str, Any]:
    """A line of a file as a JSON object.

    Raises:
        CreditError: it is none, or holds a number that JSON cannot carry.
    """
    try:
        value = json.loads(text, parse_constant=no_constant, parse_float=finite)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            raise CreditError(f"{name} holds more than one JSON object. Write one a line.") from error
        raise CreditError(f"{name} is not JSON: {error.msg} at line {line}, column {error.colno}.") from error
    except RecursionError as error:
        raise CreditError(f"{name} is nested too deeply to be a row.") from error
    except ValueError as error:  # a number that Python does not read, or that no JSON can be written with
        raise number_error(name, error) from error
    if not isinstance(value, dict):
        raise CreditError(_no_object(name, value))
    return value


def json_type(value: Any) -> str:
    """A value's type, as JSON calls it."""
    name = type(value).__name__
    return _TYPES.get(name, name)


class _Head:
    """The lines of a file, of which the first may be looked at before all are taken."""

    def __init__(self, pieces: Iterable[Line], name: str) -> None:
        self._pieces, self._name = iter(pieces), name
        self._seen: list[Line] = []
        self._filled: list[bytes] = []

    def __getitem__(self, number: int) -> bytes | None:
        """A line that is not blank, counted from 0, without the white space around it; None behind the last.

        Of a long one that is no object, a piece.
        """
        while len(self._filled) <= number:
            line = self._line()
            if not line:
                return None
            if content := line.strip():
                self._filled.append(content)
            elif len(self._seen) > MOST_BLANK:
                raise CreditError(f"{self._name} has {MOST_BLANK:,} blank lines before its first rows. Leave them out.")
        return self._filled[number]

    def _line(self) -> bytes:
        line: list[bytes] = []
        size = 0
        for number, piece, position in self._pieces:
            self._seen.append((number, piece, position))
            line.append(piece.removeprefix(BOM) if len(self._seen) == 1 else piece)
            size += len(piece)
            if piece.endswith(b"\n") or not line[0].lstrip().startswith(b"{"):
                break
            if size > MOST_BYTES:
                raise CreditError(too_long(f"{self._name}, line {number}"))
        return b"".join(line)

    def all(self) -> Iterator[Line]:
        """Each line, from the first on."""
        return chain(self._seen, self._pieces)


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


def _no_object(name: str, value: Any) -> str:
    return f"{name} holds a JSON {json_type(value)}; a row is an object with {SHAPES}."

"""JSON over many lines: the elements of an array, or objects one after another, read piece by piece.

One element is held at a time, with about as much text again that was read ahead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.rows.encodings import Line, texts
from dpo_credit.rows.lines import MOST_BYTES, PIECE_BYTES, too_long

_SPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = 16  # characters that the end of what was read may have cut: of -Infinity, a number's exponent, two \uXXXX


def elements(pieces: Iterable[Line], name: str) -> Iterator[tuple[int, Any, int]]:
    """The elements of a document, each with its number from 1 and how many bytes of the file were read when it came.

    An element with a number that cannot be kept is a CreditError in its place.

    Raises:
        CreditError: the document is no JSON or not UTF-8, or an element is longer than a row may be.
    """
    problems: list[Exception] = []
    decoder = json.JSONDecoder(
        parse_constant=_noted(no_constant, problems),
        parse_float=_noted(finite, problems),
        parse_int=_noted(int, problems),
    )
    document = _Document(pieces, name)
    in_array = document.next() == "["
    if in_array:
        document.at += 1
    number = 0
    while document.next() != "]" or number or not in_array:
        number += 1
        value = document.value(decoder, problems, number)
        if problems:
            place = f"{name}, row {number}" if in_array else name
            value = problems[0] if isinstance(problems[0], CreditError) else number_error(place, problems[0])
        yield number, value, document.position
        after = document.next()
        if not in_array and not after:
            return
        if in_array and after == "]":
            break
        if in_array:
            if after != ",":
                raise document.wrong("Expecting ',' delimiter", document.at)
            document.at += 1
    document.at += 1
    if document.next():
        raise document.wrong("Extra data after the array", document.at)


class _Document:
    """A document from `at` on: more of its text is read when it is asked for, and what lies before is let go."""

    def __init__(self, pieces: Iterable[Line], name: str) -> None:
        self.at = self.position = 0
        self._texts = texts(pieces, name)
        self._name, self._text = name, ""
        self._lines = self._column = 0  # that were let go

    def next(self) -> str:
        """The character behind white space; "" at the end."""
        blank = 0
        while True:
            space = _SPACE.match(self._text, self.at)
            assert space is not None
            blank += space.end() - self.at
            if blank > MOST_BYTES:
                raise CreditError(f"{self._name} has {MOST_BYTES >> 20} MiB of white space between rows. Leave it out.")
            self.at = space.end()
            if self.at < len(self._text) or not self._grow():
                return self._text[self.at : self.at + 1]

    def value(self, decoder: json.JSONDecoder, problems: list[Exception], number: int) -> Any:
        """The value that stands here, read over; `problems` are then its own."""
        while True:
            if len(self._text) - self.at > MOST_BYTES:
                raise CreditError(too_long(f"{self._name}, row {number}"))
            problems.clear()
            try:
                value, end = decoder.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _LITERAL
                if not (cut and self._grow()):
                    raise self.wrong(error.msg, error.pos) from error
            except RecursionError as error:
                raise CreditError(f"{self._name} is nested too deeply to be a row.") from error
            else:
                if end < len(self._text) or not self._grow():  # a number may go on
                    self.at = end
                    return value

    def wrong(self, message: str, at: int) -> CreditError:
        """What is no JSON, and where."""
        error = json.JSONDecodeError(message, self._text, at)
        column = error.colno + (self._column if error.lineno == 1 else 0)
        return CreditError(
            f"{self._name} is not JSON: {message} at line {self._lines + error.lineno}, column {column}."
        )

    def _grow(self) -> bool:
        """Read about as much again as is held; whether there was any."""
        more: list[str] = []
        wanted = max(PIECE_BYTES, len(self._text) - self.at)
        while wanted > 0 and (piece := next(self._texts, None)) is not None:
            text, self.position = piece
            more.append(text)
            wanted -= len(text)
        if not more:
            return False
        ends = self._text.count("\n", 0, self.at)
        self._lines += ends
        self._column = self.at - 1 - self._text.rfind("\n", 0, self.at) + (0 if ends else self._column)
        self._text, self.at = "".join((self._text[self.at :], *more)), 0
        return True


def finite(digits: str) -> float:
    """A number that is no infinity.

    Raises:
        ValueError: it is one.
    """
    number = float(digits)  # once: a scored row has hundreds
    if abs(number) == math.inf:
        raise ValueError(f"{digits} is out of range")
    return number


def no_constant(name: str) -> None:
    """Refuse NaN and the infinities.

    Raises:
        CreditError: always.
    """
    raise CreditError(f"{name} is not JSON; write null or a number.")


def number_error(name: str, error: Exception) -> CreditError:
    """What is wrong with a number."""
    return CreditError(f"{name} holds a number that cannot be kept: {error}. Write it as text.")


def _noted(read: Callable[[str], Any], problems: list[Exception]) -> Callable[[str], Any]:
    """Reads a number; what is wrong with it is noted, so that the end of its element is found all the same."""

    def number(digits: str) -> Any:
        try:
            return read(digits)
        except (CreditError, ValueError) as error:
            problems.append(error)
            return None

    return number

"""Lines in pieces: none is held that is longer than a row may be, so that a few bytes of gzip fill no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from dpo_credit.credit import CreditError

MOST_BYTES = 256 << 20  # of a row, decompressed; parsing one takes about four times as much
ENDLESS = 16  # times that: a line as long is one of a device or a pipe that never ends, and no row to read over
PIECE_BYTES = 1 << 20
Line = tuple[int, bytes, int]  # its number, its bytes or a piece of them, and how many of the file were read by then


def pieces_of(file: BinaryIO, position: Callable[[], int] = int) -> Iterator[Line]:
    """The lines of a file as they are read, long ones in pieces; `position` says how much of it was."""
    number = 1
    while piece := file.readline(PIECE_BYTES):
        yield number, piece, position()
        number += piece.endswith(b"\n")


def whole_lines(pieces: Iterable[Line], name: str) -> Iterator[tuple[int, bytes | CreditError, int]]:
    """The lines of which these are the pieces; one that is longer than a row may be is read over, and an error.

    Raises:
        CreditError: a line seems to have no end.
    """
    held: list[bytes] = []
    size = 0
    number = position = 0

    def line() -> bytes | CreditError:
        return b"".join(held) if size <= MOST_BYTES else CreditError(too_long(f"{name}, line {number}"))

    for number, piece, position in pieces:
        size += len(piece)
        if size > ENDLESS * MOST_BYTES:
            raise CreditError(
                f"{name}, line {number} has no end within {ENDLESS * MOST_BYTES >> 20} MiB, so nothing behind it is "
                "read. Is it what you meant?"
            )
        if size <= MOST_BYTES:
            held.append(piece)
        else:
            held.clear()
        if piece.endswith(b"\n"):
            yield number, line(), position
            held.clear()
            size = 0
    if size:
        yield number, line(), position


def too_long(place: str) -> str:
    """What is said of a row beyond the bound."""
    return (
        f"{place} is longer than {MOST_BYTES >> 20} MiB once it is decompressed, the most that is read as one row. "
        "Write the rows on lines of their own, or leave it out."
    )

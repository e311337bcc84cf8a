"""The way to a terminal: all that is shown or said goes through here, and no character of it acts on the terminal."""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperGroup

from dpo_credit.views.look import escaped, written_out

_ADDRESS = re.compile(r"\b(?:https?|wss?|ftp|socks5h?)://[^\s'\"<>]+")


def one_line(text: str) -> str:
    """What is said, on one line: no character of a file's, a model's or a post's acts, no address shows its secrets."""
    if "://" in text:
        from dpo_credit.endpoint import bare

        text = _ADDRESS.sub(lambda match: bare(match[0]), text)
    return "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in text)


class Terminal(Console):
    """A console whose own colours and movements are all that acts: what it is given to show is written out."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is shown, in pieces of one style."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=written_out(segment.text))


class _Shown(io.RawIOBase):
    """A terminal that data are written to: JSON whose characters are escaped where they would act on it."""

    def __init__(self, terminal: BinaryIO) -> None:
        self.terminal = terminal
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def write(self, data: bytes) -> int:  # type: ignore[override]  # what we write is bytes
        """Write whole bytes of UTF-8, or a part of them."""
        self.terminal.write(escaped(self.decoder.decode(data)).encode())
        return len(data)


def data_stream() -> BinaryIO:
    """Where data go that are written to stdout: as they are, but on a terminal no character of them acts."""
    return cast(BinaryIO, _Shown(sys.stdout.buffer)) if sys.stdout.isatty() else sys.stdout.buffer


class Program(TyperGroup):
    """A program whose errors about its arguments are written out, as those arguments may be anything."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The program's own options, read."""
        with _errors_written_out():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """The command's options, read, and the command run."""
        with _errors_written_out():
            return super().invoke(ctx)


@contextmanager
def _errors_written_out() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if hasattr(error, "format_message") and message:  # what Typer's errors have, and no other
            setattr(error, "message", one_line(message))  # noqa: B010  # they have no common base
        raise

"""Notes and errors of many rows, counted by kind: one line a kind, with how many and the first of them.

What is said of a row is text, in saved rows too. Two texts are of one kind where they differ in numbers and quoted
pieces alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_VARIES = re.compile(r"(?<!\w)(['\"]).*?\1(?!\w)|\b0x[0-9a-f]+|\d[\d.,]*", re.DOTALL)
_READ = 1000  # characters of a text that decide its kind: a quotation mark is looked for from every other


_MOST = 100  # kinds; what comes up later is of one more


@dataclass(slots=True)
class Kind:
    """What is said of `count` things in one way: the first one's name and text, and whether all have that very text."""

    name: str
    text: str
    count: int = 0
    alike: bool = True


@dataclass(slots=True)
class Tally:
    """How many of some things (answers, rows) there is a kind of text about."""

    things: int = 0
    _kinds: dict[str, Kind] = field(default_factory=dict)

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Count a thing, with all that is said of it; of texts of one kind the first counts."""
        self.things += 1
        kinds: dict[str, str] = {}
        for text in texts:
            kinds.setdefault(_VARIES.sub("", text.removeprefix(name)[:_READ]), text)
        for key, text in kinds.items():
            if key not in self._kinds and len(self._kinds) >= _MOST:
                key = "others"
            kind = self._kinds.setdefault(key, Kind(name, text))
            kind.count += 1
            kind.alike &= text == kind.text

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """In the order in which they came up."""
        return tuple(self._kinds.values())

    def lines(self, what: str) -> list[str]:
        """A line for each kind, with how many of `what` it is about; what one or two have in common needs no count."""
        return [self._line(kind, what) for kind in self.kinds]

    def _line(self, kind: Kind, what: str) -> str:
        if kind.alike and kind.count == self.things <= 2:
            return kind.text
        if kind.count == 1:
            return f"{kind.name}: {kind.text}"
        return f"{kind.count:,} {what}" + (f": {kind.text}" if kind.alike else f", such as {kind.name}: {kind.text}")

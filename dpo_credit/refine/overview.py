"""What many scored rows come to: a line each, and what words and pixels add to margins on average."""

from __future__ import annotations

from dataclasses import dataclass, field

from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.chats import prompt_text


@dataclass(frozen=True, slots=True)
class Line:
    """A row in short."""

    id: str
    request: str
    words: float
    pixels: float

    @property
    def margin(self) -> float:
        return self.words + self.pixels


@dataclass(slots=True)
class Overview:
    """The lines of all rows, in their order."""

    lines: list[Line] = field(default_factory=list)

    def add(self, scored: ScoredRefinement) -> None:
        """Take a row in."""
        diff = scored.diff
        self.lines.append(Line(scored.id, prompt_text(scored.row.request), diff.words, diff.pixels))

    @property
    def won(self) -> int:
        """Of how many rows the chosen answer has the higher reward."""
        return sum(line.margin > 0 for line in self.lines)

    @property
    def words(self) -> float:
        """The mean of what words add to a margin."""
        return sum(line.words for line in self.lines) / len(self.lines)

    @property
    def pixels(self) -> float:
        """The mean of what pixels add to a margin."""
        return sum(line.pixels for line in self.lines) / len(self.lines)

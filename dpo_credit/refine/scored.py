"""A scored row of a refiner, as views and writers have it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo_credit.refine.credit import RefinedDiff
from dpo_credit.refine.rows import RefinedRow

if TYPE_CHECKING:
    from dpo_credit.image.pictures import Pixels
    from dpo_credit.image.scoring import ScoredPictures


@dataclass(frozen=True, eq=False)
class ScoredRefinement:
    """A row with what its answers earned; `drawn` are the pictures of the chosen answer, and of the rejected one."""

    row: RefinedRow
    diff: RefinedDiff
    drawn: tuple[tuple[ScoredPictures, ...], tuple[ScoredPictures, ...]]

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def pictures(self) -> tuple[tuple[Pixels, ...], tuple[Pixels, ...]]:
        """The chosen answer's pictures and the rejected one's, each (H, W, 3) as the models saw it."""
        chosen, rejected = (tuple(frame.pictures[0].pixels for frame in frames) for frames in self.drawn)
        return chosen, rejected

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of the answers and their pictures, each once."""
        answers = (self.diff.chosen, self.diff.rejected)
        said = [note for answer in answers for note in answer.words.tokens.notes]
        said += [note for answer in answers for frame in answer.frames for note in frame.notes]
        return tuple(dict.fromkeys(said))

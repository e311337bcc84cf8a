"""Rows of a refiner become `RefinedDiff`s: words by the text's scorer, pixels by that of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.identity import identity
from dpo_credit.image.batch import settings
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.pictures import Picture
from dpo_credit.image.rows import picture_at
from dpo_credit.image.scoring import Sampling, ScoredPictures, score_pictures
from dpo_credit.refine.credit import RefinedCredit, RefinedDiff
from dpo_credit.refine.rows import RefinedRow
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.chats import Prompt
from dpo_credit.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Models:
    """What scores a refiner with its reference, and image models, whose beta is gamma, with the noise of pictures."""

    refiner: Scorer
    images: DenoiserPair
    sampling: Sampling = Sampling()

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a run's numbers, as JSON."""
        text = identity(self.refiner.pair, self.refiner.conventions)
        return {"refiner": text, "images": settings(self.images, self.sampling)}


def refiner_prompt(request: Prompt, scorer: Scorer) -> Prompt:
    """A request as the refiner gets it: text is a user's message where there is a chat template, else what it is."""
    if isinstance(request, str) and not scorer.conventions.template(scorer.pair.tokenizer).is_plain:
        return (Message("user", request),)
    return request


def score(
    row: RefinedRow, models: Models, *, show: Callable[[int, int], None] = lambda done, total: None
) -> ScoredRefinement:
    """Score a row: the same noise at the same timesteps for both image models and all pictures.

    Args:
        row: see `rows.parse`.
        models: see `Models`.
        show: told how many pictures are done, of how many.

    Raises:
        CreditError: a picture cannot be read or is of another size than the others, a prompt or the row is too long for
            a model, or see `score_pictures`.
    """
    answers = (row.chosen, row.rejected)
    request = refiner_prompt(row.request, models.refiner)
    names = (f"{row.id}: chosen", f"{row.id}: rejected")
    pictures = [
        [picture_at(given, f"picture {n} of {side}", row.folder)[0] for n, given in enumerate(answer.pictures, 1)]
        for side, answer in zip(("chosen", "rejected"), answers, strict=True)
    ]
    if not models.sampling.resize:
        _require_one_size([picture for each in pictures for picture in each], row)
    examples = [Example(request, answer.text, name) for name, answer in zip(names, answers, strict=True)]
    (words,) = models.refiner.rows([examples])
    if isinstance(words, CreditError):
        raise words
    drawn: list[tuple[ScoredPictures, ...]] = []
    done, total = 0, sum(map(len, pictures))
    for answer, frames in zip(answers, pictures, strict=True):
        scored = []
        for n, picture in enumerate(frames):
            prompt = answer.prompt_of(n)
            scored.append(score_pictures(models.images, prompt, [picture], models.sampling, row_id=row.id))
            done += 1
            show(done, total)
        drawn.append(tuple(scored))
    chosen, rejected = (
        RefinedCredit(credit, tuple(frame.credits[0] for frame in frames))
        for credit, frames in zip(words, drawn, strict=True)
    )
    return ScoredRefinement(row, RefinedDiff(chosen, rejected), (drawn[0], drawn[1]))


def _require_one_size(pictures: list[Picture], row: RefinedRow) -> None:
    first = pictures[0]
    other = next((picture for picture in pictures if picture.size != first.size), None)
    if other is not None:
        raise CreditError(
            f"{row.id}: {first.name} is {first.size} and {other.name} is {other.size}: only pictures of one size get "
            "the same noise. Crop one of them, or scale and crop all with --resize."
        )

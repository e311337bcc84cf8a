"""Scored rows -> the JSON that users keep, `dpo-credit/refine@1`. The types are the schema."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dpo_credit.image.batch import Line
from dpo_credit.image.saved import ImageRecord, fields_of, image_record
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.output import AnswerRecord, answer_record, json_line

SCHEMA = "dpo-credit/refine@1"


@dataclass(frozen=True, slots=True)
class RefinedRecord:
    """One answer: `reward` = `words.reward` + `pixels`, the sum of the `frames`' rewards, a picture each."""

    reward: float
    pixels: float
    words: AnswerRecord
    frames: list[ImageRecord]


@dataclass(frozen=True, slots=True)
class RefineRecord:
    """What a row's answers earned. `margin` = `words` + `pixels`, chosen less rejected (Eq. 18's logit).

    `beta` weighs the refiner's log-ratios and `gamma` the pictures' errors; `pixels_error` is the standard error of
    `pixels` over draws of noise, none of a single draw. `profile` has what each picture adds to the margin, in order.
    """

    schema: Literal["dpo-credit/refine@1"]
    id: str
    beta: float
    gamma: float
    margin: float
    words: float
    pixels: float
    preference_probability: float
    profile: list[float]
    chosen: RefinedRecord
    rejected: RefinedRecord
    pixels_error: float | None = None


def refine_record(scored: ScoredRefinement) -> RefineRecord:
    """What a scored row's answers earned, numbers unrounded; of the pictures, maps and profiles."""
    diff = scored.diff
    chosen, rejected = (
        RefinedRecord(
            answer.reward,
            answer.pixels,
            answer_record(answer.words, label),
            [image_record(frame, errors=False) for frame in frames],
        )
        for label, answer, frames in zip(
            ("chosen", "rejected"), (diff.chosen, diff.rejected), scored.drawn, strict=True
        )
    )
    error = diff.pixels_error
    return RefineRecord(
        schema="dpo-credit/refine@1",
        id=scored.id,
        beta=diff.chosen.words.beta,
        gamma=diff.chosen.frames[0].beta,
        margin=diff.margin,
        words=diff.words,
        pixels=diff.pixels,
        preference_probability=diff.preference_probability,
        profile=diff.profile.tolist(),
        chosen=chosen,
        rejected=rejected,
        pixels_error=None if math.isnan(error) else error,
    )


def line_of(scored: ScoredRefinement) -> Line:
    """A scored row as a line of JSON, its own fields as they were given beside `refine`; its notes, and its margin."""
    record = refine_record(scored)
    fields = _present(asdict(record))
    for side, answer in (("chosen", record.chosen), ("rejected", record.rejected)):
        fields[side]["frames"] = [fields_of(frame) for frame in answer.frames]
    given = {name: value for name, value in scored.row.fields.items() if name != "refine"}
    return json_line({"id": scored.id, **given, "refine": fields}), scored.notes, record.margin


def _present(value: Any) -> Any:
    """Objects without what there is none of."""
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return value

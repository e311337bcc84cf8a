"""Scored pictures <-> the JSON that users keep, `dpo-credit/image@1`. The types are the schema."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_credit.checked import check_fields
from dpo_credit.credit import LARGEST, CreditError
from dpo_credit.image.credit import Floats, PictureCredit

if TYPE_CHECKING:
    from dpo_credit.image.scoring import ScoredPictures

SCHEMA = "dpo-credit/image@1"
_NUMBER = np.dtype("<f8")
_CHANGED = "The file was changed: score the picture again."


@dataclass(frozen=True, slots=True)
class ErrorsRecord:
    """The squared errors that all is made of: `shape` is [timesteps, draws, rows, columns].

    `policy` and `reference` are base64 of that many little-endian float64 numbers, the last axis first to change.
    """

    shape: list[int]
    policy: str
    reference: str


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """A scored picture.

    `label` is what it is called beside another, such as "chosen"; `width` and `height` are pixels as the models saw it;
    `map` has a reward for each cell, row by row, and sums to `reward`; `profile` has the whole picture's at each
    timestep, whose mean is `reward`. `reward_error` and `profile_error` are standard errors over draws of noise, none
    of a single draw. `latent`: cells are a VAE's and not pixels.
    """

    label: str
    picture: str
    width: int
    height: int
    latent: bool
    channels: int
    reward: float
    profile: list[float]
    map: list[list[float]]
    notes: list[str]
    reward_error: float | None = None
    profile_error: list[float] | None = None
    errors: ErrorsRecord | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One prompt's scored pictures: a single one, or chosen and rejected with their margin.

    `timesteps` are the training's, the least noisy first, with `draws` of noise at each from `seed`: the same for both
    models and both pictures. `prediction`: what the models predict, noise (epsilon) or velocity (v_prediction).
    """

    schema: str
    id: str
    prompt: str
    policy: str
    reference: str
    dtype: str
    prediction: str
    beta: float
    seed: int
    draws: int
    timesteps: list[int]
    pictures: list[PictureRecord]
    margin: float | None = None
    margin_error: float | None = None
    preference_probability: float | None = None


def image_record(scored: ScoredPictures, *, errors: bool = True) -> ImageRecord:
    """What scored pictures earned, numbers unrounded; with the squared `errors` it can be read back."""
    labels = ("chosen", "rejected") if len(scored.credits) == 2 else ("",)
    first, diff = scored.credits[0], scored.diff
    return ImageRecord(
        schema=SCHEMA,
        id=scored.id,
        prompt=first.prompt,
        policy=scored.source.policy,
        reference=scored.source.reference,
        dtype=scored.source.dtype,
        prediction=scored.prediction,
        beta=first.beta,
        seed=scored.seed,
        draws=first.policy.shape[1],
        timesteps=list(first.timesteps),
        pictures=[
            _picture(label, picture.name, credit, errors=errors)
            for label, picture, credit in zip(labels, scored.pictures, scored.credits, strict=True)
        ],
        margin=None if diff is None else diff.margin,
        margin_error=None if diff is None else _known(diff.margin_error),
        preference_probability=None if diff is None else diff.preference_probability,
    )


def fields_of(record: ImageRecord) -> dict[str, Any]:
    """A record as JSON's objects, without what there is none of."""
    fields = {name: value for name, value in asdict(record).items() if value is not None}
    fields["pictures"] = [
        {name: value for name, value in picture.items() if value is not None} for picture in fields["pictures"]
    ]
    return fields


def read_image(record: Any, name: str) -> tuple[PictureCredit, ...]:
    """The credits of a saved record, parsed as JSON already; `name` is for messages.

    Raises:
        CreditError: it is none, was changed, or holds no errors, as rows of `image batch` do.
    """
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise CreditError(
            f"{name} is no scored picture (schema {schema!r}). Give what dpo-credit image score --json wrote."
        )
    required = ("prompt", "beta", "timesteps", "draws", "pictures")
    check_fields(record, ImageRecord, name, _CHANGED, required=required)
    if not 0 < record["beta"] <= LARGEST:
        raise CreditError(f"{name}: beta is {record['beta']}, which must be a positive number. {_CHANGED}")
    credits = []
    for picture in record["pictures"]:
        errors = picture.get("errors")
        if errors is None:
            raise CreditError(
                f"{name} holds maps and no errors, so nothing can be computed anew. Score the picture again."
            )
        shape = tuple(errors["shape"])
        if len(shape) != 4 or min(shape) < 1 or shape[:2] != (len(record["timesteps"]), record["draws"]):
            raise CreditError(f"{name}: the shape of errors is {list(shape)}. {_CHANGED}")
        credits.append(
            PictureCredit(
                prompt=record["prompt"],
                policy=_numbers(errors["policy"], shape, name),
                reference=_numbers(errors["reference"], shape, name),
                timesteps=tuple(record["timesteps"]),
                channels=picture["channels"],
                beta=float(record["beta"]),
                width=picture["width"],
                height=picture["height"],
                latent=picture["latent"],
                notes=tuple(picture["notes"]),
            )
        )
    return tuple(credits)


def _picture(label: str, name: str, credit: PictureCredit, *, errors: bool) -> PictureRecord:
    kept = ErrorsRecord(list(credit.policy.shape), _text(credit.policy), _text(credit.reference)) if errors else None
    several = credit.policy.shape[1] > 1
    return PictureRecord(
        label=label,
        picture=name,
        width=credit.width,
        height=credit.height,
        latent=credit.latent,
        channels=credit.channels,
        reward=credit.reward,
        profile=credit.profile.tolist(),
        map=credit.map.tolist(),
        notes=list(credit.notes),
        reward_error=_known(credit.reward_error),
        profile_error=credit.profile_error.tolist() if several else None,
        errors=kept,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(numbers: Floats) -> str:
    return base64.b64encode(numbers.astype(_NUMBER).tobytes()).decode()


def _numbers(text: str, shape: tuple[int, ...], name: str) -> Floats:
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), _NUMBER)
    except (binascii.Error, ValueError) as error:
        raise CreditError(f"{name}: its errors are no base64 of numbers ({error}). {_CHANGED}") from error
    if len(numbers) != math.prod(shape) or not np.isfinite(numbers).all() or (numbers < 0).any():
        raise CreditError(f"{name}: its errors are not {math.prod(shape)} numbers from 0 on. {_CHANGED}")
    return numbers.reshape(shape).astype(np.float64)

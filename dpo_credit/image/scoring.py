"""Pictures and a pair become credits: the same noise at the same timesteps for both models and all pictures.

Source: Wallace et al. 2023, "Diffusion Model Alignment Using Direct Preference Optimization", Eqs. 13, 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dpo_credit.credit import LARGEST, CreditError, Source, not_finite
from dpo_credit.forward.budget import free, is_memory_error
from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.pictures import Picture

BATCH_CELLS = 1 << 15  # cells of noisy pictures that go through a model at a time: 8 of Stable Diffusion's latents
_SHOWN = 3  # of the words that a text encoder does not know
Role = Literal["policy", "reference"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """At which timesteps pictures are made noisy, and how: `steps` of them, `draws` of noise at each, from a `seed`.

    `resize`: scale and crop pictures to the size that the models were trained on.
    """

    steps: int = 10
    draws: int = 4
    seed: int = 0
    resize: bool = False


@dataclass(frozen=True, eq=False)
class ScoredPictures:
    """A prompt's pictures, as the models saw them, with what each earned: one, or chosen and rejected."""

    id: str
    pictures: tuple[Picture, ...]
    credits: tuple[PictureCredit, ...]
    source: Source
    prediction: str
    seed: int

    @property
    def diff(self) -> PictureDiff | None:
        """The two of a preference."""
        return PictureDiff(*self.credits) if len(self.credits) == 2 else None


def score_pictures(
    pair: DenoiserPair,
    prompt: str,
    pictures: Sequence[Picture],
    sampling: Sampling = Sampling(),
    *,
    row_id: str = "",
    show: Callable[[int, int], None] = lambda done, total: None,
) -> ScoredPictures:
    """Score one picture, or a chosen and a rejected one.

    At each timestep and draw, x_t is what the training's scheduler makes of the picture and the noise, and a side's
    error (target - prediction)^2, summed over channels. The target is the noise; of models that predict the velocity
    v_t = sqrt(a_t) * noise - sqrt(1 - a_t) * x_0 it is that, as in their training: then the error is that of the noise
    divided by a_t, so their T * w of Eq. 14 weighs noisy steps more. Sums are float64.

    Args:
        pair: see `load_denoisers`.
        prompt: what the pictures were made from.
        pictures: all of one size.
        sampling: see `Sampling`.
        row_id: what they are called together.
        show: told how many noisy pictures are done, of how many.

    Raises:
        CreditError: a picture is of a size that the models do not take, the prompt is empty or too long, there are more
            steps than the models were trained on, a model's numbers are not finite, or memory is short even for one.
    """
    if not prompt.strip():
        raise CreditError("the prompt is empty. Say what the picture was made from: --prompt TEXT.")
    if not 0 < pair.beta <= LARGEST:
        raise CreditError(f"beta is {pair.beta:g}; it must be a positive number, the one the policy was trained with.")
    pictures = _fitting(pair, pictures, sampling.resize)
    timesteps = timesteps_of(len(pair.scheduler.alphas_cumprod), sampling.steps)
    condition = pair.space.condition(prompt, pictures[0].width, pictures[0].height)
    clean = torch.stack([pair.space.encode(picture.pixels) for picture in pictures])  # (P, C, h, w)
    noise = torch.stack(list(_noise(sampling, clean.shape[1:])))  # (S * N, C, h, w)
    count = len(noise)
    at = torch.tensor(timesteps).repeat_interleave(sampling.draws)
    batch, notes = max(1, BATCH_CELLS // (clean.shape[2] * clean.shape[3])), list[str]()
    errors: dict[Role, list[Tensor]] = {"policy": [], "reference": []}
    start, total = 0, len(pictures) * count
    while start < total:
        which = torch.arange(start, min(start + batch, total))
        picture, draw = which // count, which % count
        noisy = pair.scheduler.add_noise(clean[picture], noise[draw], at[draw])
        target = noise[draw]
        if pair.prediction == "v_prediction":
            target = pair.scheduler.get_velocity(clean[picture], target, at[draw])
        try:
            predicted = {
                "policy": pair.policy.predict(noisy, at[draw], condition),
                "reference": pair.reference.predict(noisy, at[draw], condition),
            }
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_memory_error(error):
                raise
            free()
            if len(which) == 1:
                raise CreditError(
                    "out of memory even with one noisy picture at a time. Use a smaller --dtype or another --device."
                ) from error
            batch = len(which) // 2
            notes.append(f"out of memory: now {batch} noisy pictures at a time")
            continue
        for role in errors:
            squared = (target.double() - predicted[role].double()).square().sum(1)  # (B, h, w)
            _require_finite(pair, role, squared, at[draw])
            errors[role].append(squared)
        start += len(which)
        show(start, total)
    shape = (len(pictures), sampling.steps, sampling.draws, *clean.shape[2:])
    policy, reference = (torch.cat(errors[role]).reshape(shape).numpy() for role in errors)
    said = [*notes, *_notes_on(pair, prompt, pictures[0])]
    credits = tuple(
        PictureCredit(
            prompt=prompt,
            policy=policy[n],
            reference=reference[n],
            timesteps=timesteps,
            channels=clean.shape[1],
            beta=pair.beta,
            width=given.width,
            height=given.height,
            latent=pair.space.latent,
            notes=(*given.notes, *said),
        )
        for n, given in enumerate(pictures)
    )
    source = Source(pair.policy.name, pair.reference.name, pair.policy.dtype)
    return ScoredPictures(row_id, tuple(pictures), credits, source, pair.prediction, sampling.seed)


def timesteps_of(trained: int, steps: int) -> tuple[int, ...]:
    """The middles of so many equal parts of the training's steps, the least noisy first.

    Raises:
        CreditError: there are not so many.
    """
    if not 1 <= steps <= trained:
        raise CreditError(f"--steps {steps}: the models were trained on {trained}. Ask for 1 to {trained}.")
    return tuple((2 * n + 1) * trained // (2 * steps) for n in range(steps))


def _noise(sampling: Sampling, shape: Sequence[int]) -> Iterator[Tensor]:
    """One draw after the other, on the CPU: whatever the device, the number of pictures and the batches."""
    generator = torch.Generator().manual_seed(sampling.seed)
    for _ in range(sampling.steps * sampling.draws):
        yield torch.randn(tuple(shape), generator=generator)


def _fitting(pair: DenoiserPair, pictures: Sequence[Picture], resize: bool) -> Sequence[Picture]:
    """The pictures in a size that the models take."""
    native, multiple = pair.space.native, pair.space.multiple
    if resize:
        return [picture.resized(native, native) for picture in pictures]
    for picture in pictures:
        if not pair.space.latent and (picture.width, picture.height) != (native, native):
            raise CreditError(
                f"{picture.name} is {picture.size}, and the models take {native} x {native} pixels. Scale and crop it "
                "with --resize."
            )
        if picture.width % multiple or picture.height % multiple:
            raise CreditError(
                f"{picture.name} is {picture.size}, and the models take widths and heights that are multiples of "
                f"{multiple}. Crop it, or let --resize scale and crop it to {native} x {native}."
            )
    first, last = pictures[0], pictures[-1]
    if first.size != last.size:
        raise CreditError(
            f"{first.name} is {first.size} and {last.name} is {last.size}: only pictures of one size get the same "
            f"noise. Crop one of them, or let --resize bring both to {native} x {native}."
        )
    return pictures


def _notes_on(pair: DenoiserPair, prompt: str, picture: Picture) -> Iterator[str]:
    """What there is to say about where the numbers stand."""
    if unknown := pair.space.unknown(prompt):
        words = ", ".join(map(repr, unknown[:_SHOWN]))
        yield f"the text encoder has no token for {words}{', ...' if unknown[_SHOWN:] else ''}: it reads <unk> there"
    if not pair.space.latent:
        return
    yield "the models denoise latent cells, each of several pixels: the map is coarser than the picture"
    if (picture.width, picture.height) != (pair.space.native,) * 2:
        yield f"the models were trained on {pair.space.native} x {pair.space.native} pixels, and this is {picture.size}"


def _require_finite(pair: DenoiserPair, role: Role, squared: Tensor, timesteps: Tensor) -> None:
    broken = ~np.isfinite(squared.sum((1, 2)).numpy())
    if broken.any():
        side = pair.policy if role == "policy" else pair.reference
        step = int(timesteps[int(broken.argmax())])
        raise not_finite(f"{role} {side.name} predicts noise that is no finite number at timestep {step}", side.dtype)

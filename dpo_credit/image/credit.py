"""What each cell of a picture earned, at each step of the diffusion, and the sums.

Source: Wallace et al. 2023, "Diffusion Model Alignment Using Direct Preference Optimization", Eq. 14; Rafailov et al.
2024, "From r to Q*", Appendix B and the second part of Eq. 17. Left unsummed over cells the reward is a map, left
unsummed over timesteps a profile. Pure data: nothing here needs torch or diffusers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PictureCredit:
    """A picture and its prompt under a policy and its reference, with the same noise and timesteps for both.

    `policy`, `reference` (S, N, h, w): squared errors of the predicted noise, summed over channels, at S timesteps and
    N draws of noise, in the h x w cells of what the models denoise: pixels, or latent cells of several pixels each.
    `channels`: how many were summed. `timesteps` (S,): of the scheduler's training steps, the least noisy first.
    `beta` is that of the public Diffusion-DPO code, which takes the mean error of a picture and beta / 2: so T * w of
    Eq. 14 is 1 / (2 * channels * h * w). `width`, `height`: of the picture as the models see it, in pixels.
    """

    prompt: str
    policy: Floats
    reference: Floats
    timesteps: tuple[int, ...]
    channels: int
    beta: float
    width: int
    height: int
    latent: bool = False
    notes: tuple[str, ...] = ()

    @property
    def rewards(self) -> Floats:
        """(S, N, h, w): each cell's reward at one timestep and draw; their mean over the first two axes is `map`."""
        cells = self.policy.shape[2] * self.policy.shape[3]
        return -self.beta / (2 * self.channels * cells) * (self.policy - self.reference)

    @property
    def map(self) -> Floats:
        """(h, w): each cell's reward, which sum to `reward`."""
        return self.rewards.mean(axis=(0, 1))

    @property
    def maps(self) -> Floats:
        """(S, h, w): the map at each timestep; their mean is `map`."""
        return self.rewards.mean(axis=1)

    @property
    def profile(self) -> Floats:
        """(S,): the whole picture's reward at each timestep; their mean is `reward`."""
        return self._draws.mean(axis=1)

    @property
    def profile_error(self) -> Floats:
        """(S,): the standard error of `profile` over the draws of noise; NaN with a single one."""
        return _standard_error(self._draws)

    @property
    def reward(self) -> float:
        """The picture's implicit reward."""
        return math.fsum(self.map.ravel())

    @property
    def reward_error(self) -> float:
        """The standard error of `reward` over the draws of noise, its timesteps being fixed; NaN with a single one."""
        return float(np.sqrt(np.square(self.profile_error).mean() / len(self.timesteps)))

    @property
    def _draws(self) -> Floats:
        return self.rewards.sum(axis=(2, 3))


@dataclass(frozen=True, eq=False)
class PictureDiff:
    """Two pictures for one prompt, scored with the same noise at the same timesteps."""

    chosen: PictureCredit
    rejected: PictureCredit

    @property
    def margin(self) -> float:
        """Diffusion-DPO's logit: chosen - rejected reward."""
        return self.chosen.reward - self.rejected.reward

    @property
    def margin_error(self) -> float:
        """The standard error of `margin` over the draws of noise, which both pictures share; NaN with a single one."""
        errors = _standard_error(self.chosen._draws - self.rejected._draws)
        return float(np.sqrt(np.square(errors).mean() / len(errors)))

    @property
    def preference_probability(self) -> float:
        """P(chosen is preferred to rejected)."""
        return 1 / (1 + math.exp(-self.margin)) if self.margin > -700 else 0.0


def _standard_error(draws: Floats) -> Floats:
    """(S, N) -> (S,)."""
    count = draws.shape[1]
    return draws.std(axis=1, ddof=1) / math.sqrt(count) if count > 1 else np.full(len(draws), np.nan)

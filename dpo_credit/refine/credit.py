"""One reward for a prompt refiner and the image model that draws what it wrote: words and pixels, and their sum.

Source: Rafailov et al. 2024, "From r to Q*", Appendix D, Eqs. 17 and 18. With the request x, the refined prompt z (its
end token among its tokens) and the picture y:

    r(x, y) = beta * sum_i (log pi(z_i | x, z_<i) - log pi_ref(z_i | x, z_<i))
            + gamma * T * E_t[w_t * (||e - e_ref(y_t, z, t)||^2 - ||e - e_pi(y_t, z, t)||^2)]

beta weighs the words alone and gamma the pixels alone: neither discounts anything, though the paper calls them
discounting factors, and the weight w_t of a step stands inside the mean over steps. gamma stands where Wallace et al.
2023 (Eq. 14) have their beta: it is the `beta` of a `PictureCredit`, with that one's T * w. The image model draws from
z alone, so that x does not enter the second part. Of several pictures (frames, Appendix D.1) the parts are added, as
log-probabilities of what is drawn one by one are. Pure data: nothing here needs torch or diffusers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dpo_credit.credit import Credit, CreditError, margin, preference_probability
from dpo_credit.image.credit import PictureCredit, PictureDiff

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RefinedCredit:
    """A refined prompt and what was drawn from it: the `words` of the refiner, and `frames`, one picture or more."""

    words: Credit
    frames: tuple[PictureCredit, ...]

    @property
    def profile(self) -> Floats:
        """(F,) each frame's reward, which sum to `pixels`."""
        return np.array([frame.reward for frame in self.frames])

    @property
    def pixels(self) -> float:
        """The pictures' part of the reward: Eq. 17's second term."""
        return math.fsum(self.profile)

    @property
    def reward(self) -> float:
        """The answer's implicit reward (Eq. 17), known up to a constant that depends on the request."""
        return self.words.reward + self.pixels


@dataclass(frozen=True, eq=False)
class RefinedDiff:
    """Two answers to one request, their pictures scored with the same noise at the same timesteps, frame by frame.

    Raises:
        CreditError: they have different numbers of frames, or their words do not compare (see `margin`).
    """

    chosen: RefinedCredit
    rejected: RefinedCredit

    def __post_init__(self) -> None:
        ours, theirs = len(self.chosen.frames), len(self.rejected.frames)
        if ours != theirs or not ours:
            raise CreditError(
                f"chosen has {ours} pictures and rejected {theirs}: the image model decides what a frame shows, not "
                "how many there are, so their rewards do not compare. Give both answers as many."
            )
        margin(self.chosen.words, self.rejected.words)

    @property
    def words(self) -> float:
        """What the refined prompts add to the margin."""
        return margin(self.chosen.words, self.rejected.words)

    @property
    def pixels(self) -> float:
        """What the pictures add to the margin."""
        return self.chosen.pixels - self.rejected.pixels

    @property
    def margin(self) -> float:
        """The logit of Eq. 18: `words` + `pixels`, chosen - rejected reward."""
        return self.words + self.pixels

    @cached_property
    def frames(self) -> tuple[PictureDiff, ...]:
        """Each frame of the chosen answer beside that of the rejected one."""
        pairs = zip(self.chosen.frames, self.rejected.frames, strict=True)
        return tuple(PictureDiff(chosen, rejected) for chosen, rejected in pairs)

    @property
    def profile(self) -> Floats:
        """(F,) what each frame adds to the margin; they sum to `pixels` but for rounding."""
        return np.array([frame.margin for frame in self.frames])

    @property
    def pixels_error(self) -> float:
        """The standard error of `pixels` over the draws of noise, which all pictures share; NaN with a single one."""
        draws = sum(
            frame.chosen.rewards.sum(axis=(2, 3)) - frame.rejected.rewards.sum(axis=(2, 3)) for frame in self.frames
        )
        steps, count = np.shape(draws)
        if count < 2:
            return math.nan
        return float(np.sqrt(np.square(np.std(draws, axis=1, ddof=1)).sum() / count) / steps)

    @property
    def preference_probability(self) -> float:
        """P(chosen is preferred to rejected), the sigmoid of `margin`."""
        return preference_probability(self.margin)

"""Small policies and segments of a made-up MDP."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dpo_credit.mdp.policies import Mlp
from dpo_credit.mdp.segments import Segment, SegmentPair


def layers(*sizes: int, seed: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    random = np.random.default_rng(seed)
    return tuple((random.normal(size=(b, a)), random.normal(size=b)) for a, b in pairwise(sizes))


def categorical(seed: int = 0, **more: object) -> Mlp:
    return Mlp("categorical", layers(3, 5, 4, seed=seed), activation="relu", **more)  # type: ignore[arg-type]


def gaussian(seed: int = 0, mean: str = "linear") -> Mlp:
    return Mlp("gaussian", layers(3, 5, 2, seed=seed), "tanh", mean, np.array([-0.5, 0.25]))


def segment(steps: int, seed: int, *, discrete: bool = True) -> Segment:
    random = np.random.default_rng(seed)
    actions = random.integers(4, size=steps) if discrete else random.normal(size=(steps, 2))
    return Segment(random.normal(size=(steps, 3)), actions)


def pair(*, discrete: bool = True) -> SegmentPair:
    return SegmentPair("p", segment(4, 1, discrete=discrete), segment(6, 2, discrete=discrete))

"""Drawn pictures with a credit that is known cell by cell, for the tests of their views."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from dpo_credit.image import PictureCredit, PictureDiff
from dpo_credit.views.image import Pictures
from dpo_credit.views.look import Look
from dpo_credit.views.terminal.image import show

SIDE = 32
PUNISHED = (slice(12, 22), slice(18, 28))  # rows and columns of the changed square
BLUE, GREEN, RED, PAPER = (40, 80, 220), (40, 170, 70), (215, 45, 40), (240, 236, 228)
PROMPT = "a red circle left of a blue square"


def drawing(square: tuple[int, int, int] = BLUE, side: int = SIDE) -> NDArray[np.uint8]:
    """(side, side, 3): a red circle left of a square."""
    picture = np.full((SIDE, SIDE, 3), PAPER, np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    picture[(rows - 16) ** 2 + (columns - 8) ** 2 <= 25] = RED
    picture[PUNISHED] = square
    return np.kron(picture, np.ones((side // SIDE, side // SIDE, 1), np.uint8))


def exact(rewards: NDArray[np.float64], *, prompt: str = PROMPT, size: int = 0, latent: bool = False) -> PictureCredit:
    """A credit whose `rewards` are these (S, N, h, w)."""
    steps, _, height, width = rewards.shape
    beta = 2.0 * 3 * height * width  # a reward is then what the policy's error is below the reference's
    reference = np.full(rewards.shape, 5.0)
    times = tuple(range(50, 50 + 100 * steps, 100))
    return PictureCredit(
        prompt, reference - rewards, reference, times, 3, beta, size or width, size or height, latent=latent
    )


def credit(
    square: float = 0.0, *, steps: int = 10, draws: int = 4, noise: float = 0.004, side: int = SIDE, seed: int = 0
) -> PictureCredit:
    """Noise, and `square` as the reward of a cell of the square, most of it at middling timesteps."""
    random = np.random.default_rng(seed)
    rewards = random.normal(0.0, noise, (steps, draws, side, side))
    share = np.exp(-(((np.arange(steps) + 0.5) / steps - 0.45) ** 2) / 0.05)
    place = np.kron(_square(), np.ones((side // SIDE, side // SIDE)))
    strengths = random.normal(1.0, 0.3, (steps, draws)) * (share / share.mean())[:, None]
    return exact(rewards + square * strengths[..., None, None] * place)


def pair(**options: int) -> PictureDiff:
    """The rejected picture's square, of the wrong colour, is punished; the chosen one's is rewarded a little."""
    return PictureDiff(credit(0.002, **options), replace(credit(-0.012, **options), prompt=PROMPT))


def pictures(side: int = SIDE) -> list[NDArray[np.uint8]]:
    return [drawing(side=side), drawing(GREEN, side)]


def printed(scored: PictureCredit | PictureDiff, shown: Pictures, look: Look) -> str:
    """What the terminal gets, without colours."""
    console = Console(width=look.width, file=io.StringIO(), color_system=None)
    console.print(show(scored, shown, look))
    return console.file.getvalue()  # type: ignore[attr-defined]


def _square() -> NDArray[np.float64]:
    place = np.zeros((SIDE, SIDE))
    place[PUNISHED] = 1.0
    return place

"""One colour scale for every view: diverging, neutral at zero, blue above and orange below (told apart by any eye)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dpo_credit.credit import Credit

Theme = Literal["dark", "light"]
RGB = tuple[int, int, int]

# the colours at zero, at the lowest reward and at the highest, per theme of the page or terminal
_ENDS: dict[Theme, tuple[RGB, RGB, RGB]] = {
    "dark": ((38, 38, 42), (255, 122, 26), (70, 160, 255)),
    "light": ((250, 250, 250), (216, 84, 0), (0, 96, 176)),
}
_STEPS = (0.12, 0.4, 0.75)  # shares of the limit from which a reward counts as slight, clear, strong


@dataclass(frozen=True, slots=True)
class Scale:
    """Rewards from -limit to +limit span the colours; what lies beyond takes the end's. `noise`: see `Credit.noise`."""

    limit: float
    noise: float = 0.0

    def position(self, reward: float) -> float:
        """Where a reward lies, from -1 to 1; 0 for one within the noise floor."""
        if not self.limit or abs(reward) < self.noise:
            return 0.0
        return max(-1.0, min(1.0, reward / self.limit))

    @property
    def decimals(self) -> int:
        """Decimals that give the scale's limit three significant digits; from 2 to 9."""
        return max(2, min(9, 2 - math.floor(math.log10(self.limit)))) if self.limit else 2

    def strength(self, reward: float) -> int:
        """0 (no reward to speak of), 1 (slight), 2 (clear) or 3 (strong)."""
        return sum(abs(self.position(reward)) >= step for step in _STEPS)


def shared_scale(credits: Iterable[Credit]) -> Scale:
    """One scale for all the answers compared, robust to one outlier.

    The limit is the second largest magnitude of any segment's reward, but no less than a quarter of the largest: an
    outlier cannot grey out the rest, and noise around a single real reward cannot pass for colour.
    """
    credits = list(credits)
    largest = sorted((abs(segment.reward) for credit in credits for segment in credit.segments), reverse=True)
    limit = max(largest[min(1, len(largest) - 1)], largest[0] / 4)
    return Scale(limit, max(credit.noise for credit in credits))


def shade(position: float, theme: Theme) -> tuple[RGB, RGB]:
    """Background and text colour for a position from -1 to 1; their contrast is at least 4.5:1 (WCAG AA)."""
    neutral, low, high = _ENDS[theme]
    end = low if position < 0 else high
    weight = abs(position)
    background = tuple(round(a + (b - a) * weight) for a, b in zip(neutral, end, strict=True))
    red, green, blue = background
    black, white = (0, 0, 0), (255, 255, 255)
    rgb = (red, green, blue)
    return rgb, max((black, white), key=lambda text: contrast(rgb, text))


def contrast(a: RGB, b: RGB) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: RGB) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
